"""Rows and snapshot manifests that the live stream writes to its stores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hitmesh.model.positions import PartitionId, PartitionProgress

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class FoldedRows:
    """The rows that a transaction adds for a partition: signed rows of STREAM_GENERATION, of any sites and days.

    `traffic` and `visits` have the columns of hitmesh.model.rows.stream_columns.STREAM_COLUMNS.
    """

    partition: PartitionId
    traffic: pl.DataFrame
    visits: pl.DataFrame


@dataclass(frozen=True, slots=True)
class SnapshotManifest:
    """Completes the snapshot of a partition's state at a position; readers ignore chunks without a stored manifest.

    A snapshot does not contain the contents of kept hits. `kept_from` is the offset of the first record with kept hits,
    from which a restore reads the log again. `chunks` is the number of chunks.
    """

    partition: PartitionId
    writer: int
    position: PartitionProgress
    logic_version: int
    kept_from: int
    chunks: int
