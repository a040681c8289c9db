"""The ports that the live stream uses: transactions of rows and positions, partials, ledger, snapshots, log scans."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.records import LoggedRecord
from hitmesh.model.sites import SiteDay
from hitmesh.model.stream_values import FoldedRows, SnapshotManifest

if TYPE_CHECKING:
    import polars as pl


class Outbox(Protocol):
    """Commits rollup rows and positions in a single transaction (architecture A6). Reports read only committed rows."""

    def take_over(self) -> int:
        """Fence every earlier writer.

        Return this writer's number, which is higher than the number of any earlier writer.
        """

    def resolve(self, writer: int) -> None:
        """Block until this writer has no pending transaction.

        After this call, `committed()` includes every transaction of this writer that will ever be committed.

        Raises:
            Fenced: a later writer took over.
        """

    def transaction(
        self, writer: int, rows: Sequence[FoldedRows], positions: Mapping[PartitionId, PartitionProgress]
    ) -> None:
        """Commit rows and positions durably, all or nothing.

        The positions may belong to both topics of the log (hits and rejected hits). Each partition with rows must have
        a position. If there are rows, every position must be beyond the committed position. In a transaction without
        rows, a position at or before the committed position is ignored.

        Raises:
            Fenced: a later writer took over; nothing was written.
            PartitionsMoved: there are rows, but another reader has already committed one of the positions or now owns a
                partition. Nothing was written.
            CommitInDoubt: the store did not report whether the transaction was committed. When the store answers again,
                `committed` shows whether the positions and rows were committed.
        """

    def committed(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return the committed position in every declared partition of both topics; (0, 0) before the first commit."""


class SeriesStore(Protocol):
    """Stores time series: the rows of settled days, and the live stream's partials."""

    def put_partials(self, partials: pl.DataFrame) -> None:
        """Store partials (PARTIAL_COLUMNS) durably.

        A partial is a row with sums for a partition and a 15-minute cell. The sums cover the hits of an epoch, which is
        15 minutes of log time. The key of a partial is all columns before `written`. A partial replaces the stored
        partial with the same key, unless the new partial has a lower `written`.
        """

    def read(self, site: str, first_day: int, end_day: int, generation: int) -> pl.DataFrame:
        """Return a row of SERIES_COLUMNS per (day, cell, excluded, currency), combined over partitions and epochs.

        Sums are added, digests are added mod 2⁶⁴, and sketches are united. For a site-day with settled rows, the result
        contains only the settled rows.
        """

    def put_settled(self, site_day: SiteDay, generation: int, rows: pl.DataFrame) -> None:
        """Store the settled rows (SERIES_COLUMNS) of a site-day's generation durably and atomically.

        After this call, `read` returns only these rows for the generation, and ignores the generation's partials. A
        second call for the generation replaces the rows.
        """

    def note_flushed(self, through: Mapping[PartitionId, PartitionProgress]) -> None:
        """Record durably that all partials and ledger entries for records before these positions are stored.

        A position that is older than the stored position is ignored.
        """

    def flushed(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return the positions stored by `note_flushed`; partitions without a position are absent."""

    def drop(self, superseded: Sequence[tuple[SiteDay, int]]) -> None:
        """Remove all values stored for these generations of site-days; idempotent."""


class Ledger(Protocol):
    """Stores the ledger: counts and checksums that account for the outcome of every hit (rule D5)."""

    def put(self, entries: pl.DataFrame) -> None:
        """Store entries (LEDGER_COLUMNS) durably.

        Keys and `written` have the same meaning as in SeriesStore.put_partials.
        """

    def read(self, site: str | None) -> pl.DataFrame:
        """Return LEDGER_SUMS, combined over partitions and epochs, ordered by key.

        If `site` is None, the result covers all sites and the hits without a site. To combine rows, `hits` is added,
        `sum64` is added mod 2⁶⁴, and `xor64` is combined by exclusive or.
        """

    def waiting(self, site: str, first_day: int, end_day: int) -> set[int]:
        """Return the days of [first_day, end_day) with hits that wait for settlement (rule S9)."""

    def read_some(self, after: str | None, max_sites: int) -> tuple[pl.DataFrame, str | None]:
        """Return a page of the rows that `read(None)` returns.

        All rows of a site are in the same page. The store chooses the order of sites.

        Hits without a site are treated as hits of a site with an empty name.

        Args:
            after: the last site of the previous page; None for the first page.
            max_sites: maximum number of sites in the page.

        Returns:
            The sums in the page, and the name of the last site in the page. The name is None on the last page.
        """


class StateStore(Protocol):
    """Stores snapshots of partition state. A reader finds either a complete snapshot or no snapshot."""

    def save_chunks(self, partition: PartitionId, writer: int, next_offset: int, chunks: Sequence[bytes]) -> None:
        """Store the chunks of a snapshot, which is identified by partition, writer and next_offset; idempotent.

        `load` does not return the snapshot until `save_manifest` has made the snapshot visible. The chunks of a visible
        snapshot never change. A chunk must be smaller than 1 MiB.
        """

    def save_manifest(self, manifest: SnapshotManifest) -> bool:
        """Make a snapshot visible and delete the chunks of older snapshots; return whether the snapshot became visible.

        The stored manifest stays if it comes from a later writer, or from the same writer at the same or a later
        position. The chunks of a snapshot that did not become visible are deleted.
        """

    def load(self, partition: PartitionId, logic_version: int) -> tuple[SnapshotManifest, Sequence[bytes]] | None:
        """Return the newest snapshot if it is complete and this logic version wrote it; otherwise None."""


class LogScan(Protocol):
    """Reads records again, outside any consumer group; a scan commits no position."""

    def first_offset(self, partition: PartitionId) -> int:
        """Return the first retained offset, or the end offset if no record is retained."""

    def offset_at(self, partition: PartitionId, log_time: int) -> int:
        """Return the first retained offset whose log time is at least `log_time`, or else the end offset.

        The end offset is the offset of the next record that will be appended.
        """

    def read(
        self, partition: PartitionId, first_offset: int, end_offset: int, log_time: int = 0
    ) -> Iterator[LoggedRecord]:
        """Yield the retained records of [first_offset, end_offset) in order.

        Args:
            partition: the partition to read.
            first_offset: offset of the first record.
            end_offset: offset after the last record.
            log_time: the log time of the record at `first_offset`, or of the record before it; 0 if neither is known. A
                record's log time is a running maximum over the partition (rule L1). A store that does not store log
                times computes the log times from `log_time` on. If `log_time` is 0, the computed log times may be too
                early. If `log_time` is correct, the records have the same log times as from a LogReader.
        """
