"""Rows and snapshots that the live stream hands to its stores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hitmesh.model.positions import PartitionId, PartitionProgress

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class FoldedRows:
    """The rows that a partition adds in a transaction: signed rows of STREAM_GENERATION.

    `traffic` and `visits` have the columns stream_columns.STREAM_COLUMNS; any number of sites and days.
    """

    partition: PartitionId
    traffic: pl.DataFrame
    visits: pl.DataFrame


@dataclass(frozen=True, slots=True)
class SnapshotManifest:
    """Completes the chunks of a snapshot: the partition's state at a position.

    `kept_from` is the first record whose hits belong to the state but are not in the snapshot: a restore reads them
    again.
    """

    partition: PartitionId
    writer: int
    position: PartitionProgress
    logic_version: int
    kept_from: int
    chunks: int
