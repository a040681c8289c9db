"""The ports of the live stream: one transaction for rows and positions, partials, ledger, snapshots, re-reading."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import polars as pl

from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.records import LoggedRecord
from hitmesh.model.sites import SiteDay
from hitmesh.model.stream_values import FoldedRows, SnapshotManifest


class Outbox(Protocol):
    """Rollup rows and consumed positions, atomically (decision A6). Rows that are committed are seen by reports."""

    def take_over(self) -> int:
        """Fences every earlier writer; returns the number of this one, greater than any before."""

    def resolve(self, writer: int) -> None:
        """Returns once nothing that this writer began is pending: what `committed` says then is what was committed.

        Raises:
            Fenced: a later writer took over.
        """

    def transaction(
        self, writer: int, rows: Sequence[FoldedRows], positions: Mapping[PartitionId, PartitionProgress]
    ) -> None:
        """Commits rows and positions durably, all or nothing; positions may be of both topics of the log.

        Rows come with the position of their partition. With rows, every position must be ahead of the committed one;
        without rows, a position that is not ahead changes nothing.

        Raises:
            Fenced: a later writer took over; nothing was written.
            PartitionsMoved: rows come with a position that is not ahead, since another reader committed it, or a
                partition is another reader's now; nothing was written.
            CommitInDoubt: whether it was written is not known; `committed` tells, once it answers.
        """

    def committed(self) -> Mapping[PartitionId, PartitionProgress]:
        """Returns what was committed last, of every declared partition of both topics; (0, 0) without a commit."""


class SeriesStore(Protocol):
    """Partials: what an epoch contributed to a cell, as absolute values."""

    def put_partials(self, partials: pl.DataFrame) -> None:
        """Stores partials (PARTIAL_COLUMNS) durably, keyed by all columns before `written`.

        One with a smaller `written` than what is there changes nothing; a greater or equal one takes its place.
        """

    def read(self, site: str, first_day: int, end_day: int, generation: int) -> pl.DataFrame:
        """Returns SERIES_COLUMNS, one row per (day, cell, excluded, currency), the epochs of all partitions added up.

        Sums and digests add (digests mod 2⁶⁴), sketches are united. Of a site-day that was put settled, only that.
        """

    def put_settled(self, site_day: SiteDay, generation: int, rows: pl.DataFrame) -> None:
        """Stores what a settlement counted in a site-day durably: SERIES_COLUMNS, whole or not at all.

        `read` answers from these rows alone, whatever partials of the generation are there. Putting again replaces.
        """

    def note_flushed(self, through: Mapping[PartitionId, PartitionProgress]) -> None:
        """Notes durably that all partials and ledger entries of records before these positions are stored.

        A position never moves back.
        """

    def flushed(self) -> Mapping[PartitionId, PartitionProgress]:
        """Returns what was noted last; partitions of which nothing was noted are absent."""

    def drop(self, site: str, day: int, generation: int) -> None:
        """Removes what is stored of a generation of a site-day; removing twice is removing once."""


class Ledger(Protocol):
    """What became of every hit (rule D5)."""

    def put(self, entries: pl.DataFrame) -> None:
        """Stores entries (LEDGER_COLUMNS) durably; keys and `written` as in SeriesStore.put_partials."""

    def read(self, site: str | None) -> pl.DataFrame:
        """Returns LEDGER_SUMS of a site, or of all sites and of no site, added up over partitions and epochs.

        Hits and Σ add (Σ mod 2⁶⁴), ⊕ is combined by exclusive or. Ordered by key.
        """

    def waiting(self, site: str, first_day: int, end_day: int) -> set[int]:
        """Returns the days of [first_day, end_day) with hits that are in no visit until their day is settled (S9)."""

    def read_some(self, after: str | None, max_sites: int) -> tuple[pl.DataFrame, str | None]:
        """Returns what `read` does of the next sites behind one, no site among them, in an order of the store's own.

        Args:
            after: the last site of what was read before; None to begin.
            max_sites: so many at most.

        Returns:
            The sums, and the last site; None where no more sites follow.
        """


class StateStore(Protocol):
    """Snapshots of the state of partitions. One is whole or absent."""

    def save_chunks(self, partition: PartitionId, writer: int, next_offset: int, chunks: Sequence[bytes]) -> None:
        """Stores the chunks of the snapshot (partition, writer, next_offset); invisible without a manifest.

        Chunks are below 1 MiB (see chunked). Saving the same twice is saving once.
        """

    def save_manifest(self, manifest: SnapshotManifest) -> bool:
        """Makes a snapshot visible in place of older ones, whose chunks go; returns whether it did.

        An older writer, or an older position of the same writer, cannot replace what is there.
        """

    def load(self, partition: PartitionId, logic_version: int) -> tuple[SnapshotManifest, Sequence[bytes]] | None:
        """Returns the newest snapshot that this logic version wrote; None without one, or if a chunk is missing."""


class LogScan(Protocol):
    """Reads records again, without a group: nothing is committed."""

    def first_offset(self, partition: PartitionId) -> int:
        """Returns the first offset that is still there; the next one to be written when none is."""

    def offset_at(self, partition: PartitionId, log_time: int) -> int:
        """Returns the first retained offset whose log time is at least `log_time`; the end when none is."""

    def read(
        self, partition: PartitionId, first_offset: int, end_offset: int, log_time: int = 0
    ) -> Iterator[LoggedRecord]:
        """Yields the records of [first_offset, end_offset) in order; records that were trimmed are not there.

        Args:
            partition: which one.
            first_offset: the first record.
            end_offset: behind the last record.
            log_time: log time of the record at `first_offset`, or of the one before it. Log time is a running maximum
                (rule L1): with it the records have the log times that every reader of the log sees. 0 where it is not
                known: a store that does not keep log times may then give earlier ones.
        """
