"""Rows and snapshot manifests that the live stream writes to its stores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hitmesh.model.positions import PartitionId, PartitionProgress

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class FoldedRows:
    """The signed rows that a transaction adds for a partition, for any sites and days (generation STREAM_GENERATION).

    `traffic` and `visits` have the columns of hitmesh.model.rows.stream_columns.STREAM_COLUMNS.
    """

    partition: PartitionId
    traffic: pl.DataFrame
    visits: pl.DataFrame


@dataclass(frozen=True, slots=True)
class SnapshotManifest:
    """The manifest for a snapshot of a partition's state at a position.

    The manifest is stored last; readers ignore chunks without a stored manifest.

    A snapshot does not contain the recent hits that the stream keeps for each visitor (rule S9). `kept_from` is the
    offset of the first record with hits that the stream keeps. A restore reads the log from `kept_from` on. `chunks` is
    the number of chunks in the snapshot.
    """

    partition: PartitionId
    writer: int
    position: PartitionProgress
    logic_version: int
    kept_from: int
    chunks: int
