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
    """Commits rollup rows and positions in a single transaction (architecture A6). Reports see only committed rows."""

    def take_over(self) -> int:
        """Fence every earlier writer; return this writer's number, which is higher than any earlier writer's number."""

    def resolve(self, writer: int) -> None:
        """Block until this writer has no pending transaction. Afterwards `committed()` is final.

        Raises:
            Fenced: a later writer took over.
        """

    def transaction(
        self, writer: int, rows: Sequence[FoldedRows], positions: Mapping[PartitionId, PartitionProgress]
    ) -> None:
        """Commit rows and positions durably, all or nothing; positions may belong to both topics of the log.

        There must be a position for each partition with rows. If there are rows, every position must be beyond the
        committed position. Without rows, a position that is not beyond the committed position changes nothing.

        Raises:
            Fenced: a later writer took over; nothing was written.
            PartitionsMoved: there are rows, but another reader already committed a position; or a partition now belongs
                to another reader. Nothing was written.
            CommitInDoubt: the outcome is unknown; `committed` returns the outcome once the store answers.
        """

    def committed(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return the committed position in every declared partition of both topics; zeros before the first commit."""


class SeriesStore(Protocol):
    """Stores partials (an epoch's contribution to a cell, as a total, not an increment) and settled series."""

    def put_partials(self, partials: pl.DataFrame) -> None:
        """Store partials (PARTIAL_COLUMNS) durably; the key of a partial is all columns before `written`.

        A partial replaces the stored partial with the same key, unless `written` of the new partial is lower.
        """

    def read(self, site: str, first_day: int, end_day: int, generation: int) -> pl.DataFrame:
        """Return a row of SERIES_COLUMNS per (day, cell, excluded, currency), combined over partitions and epochs.

        Sums are added, digests are added mod 2⁶⁴, and sketches are united. For a site-day with settled rows, only the
        settled rows are read.
        """

    def put_settled(self, site_day: SiteDay, generation: int, rows: pl.DataFrame) -> None:
        """Store the settled rows (SERIES_COLUMNS) of a site-day's generation durably and atomically.

        Afterwards, `read` returns only these rows for the generation and ignores its partials. A second call replaces
        the rows.
        """

    def note_flushed(self, through: Mapping[PartitionId, PartitionProgress]) -> None:
        """Store durably that all partials and ledger entries of records before these positions are stored.

        An older position than the stored position is ignored.
        """

    def flushed(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return the positions stored by `note_flushed`; partitions without a position are absent."""

    def drop(self, superseded: Sequence[tuple[SiteDay, int]]) -> None:
        """Remove all values stored for these generations of site-days; idempotent."""


class Ledger(Protocol):
    """The outcome of every hit (rule D5)."""

    def put(self, entries: pl.DataFrame) -> None:
        """Store entries (LEDGER_COLUMNS) durably; keys and `written` work as in SeriesStore.put_partials."""

    def read(self, site: str | None) -> pl.DataFrame:
        """Return LEDGER_SUMS, combined over partitions and epochs, ordered by key.

        `site` None means all sites, and hits without a site. `hits` are added, `sum64` are added mod 2⁶⁴, and `xor64`
        are combined by exclusive or.
        """

    def waiting(self, site: str, first_day: int, end_day: int) -> set[int]:
        """Return the days of [first_day, end_day) with hits that wait for settlement (rule S9)."""

    def read_some(self, after: str | None, max_sites: int) -> tuple[pl.DataFrame, str | None]:
        """Return a page of `read(None)`. A page holds whole sites, in an order that the store chooses.

        Hits without a site are included as a site.

        Args:
            after: the last site of the previous page; None for the first page.
            max_sites: maximum number of sites in the page.

        Returns:
            The sums, and the last site of the page; None in place of the site if this is the last page.
        """


class StateStore(Protocol):
    """Stores snapshots of partition state. A snapshot is complete or absent."""

    def save_chunks(self, partition: PartitionId, writer: int, next_offset: int, chunks: Sequence[bytes]) -> None:
        """Store the chunks of the snapshot (partition, writer, next_offset); idempotent.

        The snapshot is invisible until `save_manifest`. A chunk must be smaller than 1 MiB.
        """

    def save_manifest(self, manifest: SnapshotManifest) -> bool:
        """Make a snapshot visible and delete the chunks of older snapshots; return whether the snapshot became visible.

        A manifest of an earlier writer, or of the same writer at an earlier position, does not replace the stored
        manifest.
        """

    def load(self, partition: PartitionId, logic_version: int) -> tuple[SnapshotManifest, Sequence[bytes]] | None:
        """Return the newest snapshot that this logic version wrote; None without a complete snapshot."""


class LogScan(Protocol):
    """Reads records again, outside any consumer group; a scan commits no position."""

    def first_offset(self, partition: PartitionId) -> int:
        """Return the first retained offset, or the end offset if no record is retained."""

    def offset_at(self, partition: PartitionId, log_time: int) -> int:
        """Return the first retained offset whose log time is at least `log_time`, or the end offset if there is none.

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
            log_time: log time of the record at `first_offset` or of the record before, 0 if unknown. Log time is a
                running maximum (rule L1), which continues from this value, so that the records have the same log times
                as for a LogReader. If the value is unknown, a store that does not keep log times may return earlier
                log times.
        """
