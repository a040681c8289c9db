"""The ports of the live stream: one transaction for rows and positions, partials, ledger, snapshots, log scans."""

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
    """Stores rollup rows and consumed positions atomically (decision A6). Reports see committed rows."""

    def take_over(self) -> int:
        """Fence every earlier writer; return this writer's number, greater than any before."""

    def resolve(self, writer: int) -> None:
        """Block until this writer has no pending transaction. Afterwards `committed()` is final.

        Raises:
            Fenced: a later writer took over.
        """

    def transaction(
        self, writer: int, rows: Sequence[FoldedRows], positions: Mapping[PartitionId, PartitionProgress]
    ) -> None:
        """Commit rows and positions durably, all or nothing; positions may belong to both topics of the log.

        Each partition with rows must have a position. With rows, every position must be ahead of the committed
        position; without rows, a position that is not ahead changes nothing.

        Raises:
            Fenced: a later writer took over; nothing was written.
            PartitionsMoved: rows come with a position that another reader already committed, or a partition now belongs
                to another reader; nothing was written.
            CommitInDoubt: the outcome is unknown; `committed` tells once the store answers.
        """

    def committed(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return the last committed position of every declared partition of both topics; (0, 0) without a commit."""


class SeriesStore(Protocol):
    """Stores partials: an epoch's contributions to cells, as totals, not increments."""

    def put_partials(self, partials: pl.DataFrame) -> None:
        """Store partials (PARTIAL_COLUMNS) durably, keyed by all columns before `written`.

        A partial replaces the stored partial unless its `written` is smaller; then nothing changes.
        """

    def read(self, site: str, first_day: int, end_day: int, generation: int) -> pl.DataFrame:
        """Return SERIES_COLUMNS, one row per (day, cell, excluded, currency), added up over partitions and epochs.

        Sums and digests add (digests mod 2⁶⁴), sketches are united. For a site-day with settled rows, only those rows.
        """

    def put_settled(self, site_day: SiteDay, generation: int, rows: pl.DataFrame) -> None:
        """Store the settled rows of a site-day durably and atomically: SERIES_COLUMNS.

        `read` then answers from these rows alone and ignores partials of the generation. A second call replaces the
        rows.
        """

    def note_flushed(self, through: Mapping[PartitionId, PartitionProgress]) -> None:
        """Note durably that all partials and ledger entries of records before these positions are stored.

        A position never moves back.
        """

    def flushed(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return the last noted positions; partitions without a note are absent."""

    def drop(self, site: str, day: int, generation: int) -> None:
        """Remove all values stored for a site-day's generation. Idempotent."""


class Ledger(Protocol):
    """The outcome of every hit (rule D5)."""

    def put(self, entries: pl.DataFrame) -> None:
        """Store entries (LEDGER_COLUMNS) durably; keys and `written` as in SeriesStore.put_partials."""

    def read(self, site: str | None) -> pl.DataFrame:
        """Return LEDGER_SUMS for a site, or for all sites and hits without a site, added up over partitions and epochs.

        Hits and Σ add (Σ mod 2⁶⁴), ⊕ is combined by exclusive or. Ordered by key.
        """

    def waiting(self, site: str, first_day: int, end_day: int) -> set[int]:
        """Return the days of [first_day, end_day) with hits that are in no visit until their day is settled (S9)."""

    def read_some(self, after: str | None, max_sites: int) -> tuple[pl.DataFrame, str | None]:
        """Return a page of `read(None)` by site, hits without a site included, in an order that the store chooses.

        Args:
            after: the last site of the previous page; None to begin.
            max_sites: maximum number of sites in the page.

        Returns:
            The sums, and the last site of the page; None when no sites follow.
        """


class StateStore(Protocol):
    """Stores snapshots of partition state. A snapshot is whole or absent."""

    def save_chunks(self, partition: PartitionId, writer: int, next_offset: int, chunks: Sequence[bytes]) -> None:
        """Store the chunks of the snapshot (partition, writer, next_offset); invisible without a manifest. Idempotent.

        Chunks must be below 1 MiB (see chunked).
        """

    def save_manifest(self, manifest: SnapshotManifest) -> bool:
        """Make a snapshot visible and delete older snapshots' chunks; return whether the snapshot became visible.

        An older writer, or an older position from the same writer, cannot replace the stored manifest.
        """

    def load(self, partition: PartitionId, logic_version: int) -> tuple[SnapshotManifest, Sequence[bytes]] | None:
        """Return the newest snapshot that this logic version wrote; None without one, or if a chunk is missing."""


class LogScan(Protocol):
    """Reads records again, outside any group: a scan commits nothing."""

    def first_offset(self, partition: PartitionId) -> int:
        """Return the first retained offset; the next offset to be written when no record is retained."""

    def offset_at(self, partition: PartitionId, log_time: int) -> int:
        """Return the first retained offset whose log time is at least `log_time`; the end when there is none."""

    def read(
        self, partition: PartitionId, first_offset: int, end_offset: int, log_time: int = 0
    ) -> Iterator[LoggedRecord]:
        """Yield the records of [first_offset, end_offset) in order, without records that were trimmed.

        Args:
            partition: the partition to read.
            first_offset: the first record.
            end_offset: behind the last record.
            log_time: log time of the record at `first_offset`, or of the record before. Log time is a running maximum
                (rule L1): given this start, the records have the log times that every log reader sees. 0 when unknown:
                a store that does not keep log times may then give earlier times.
        """
