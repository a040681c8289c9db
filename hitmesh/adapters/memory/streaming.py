"""The stream's stores in memory: outbox, partials, ledger and snapshots."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import polars as pl

from hitmesh.adapters.memory.log import MemoryLog
from hitmesh.adapters.memory.rows import MemoryRows
from hitmesh.adapters.shared.partials import (
    NO_ENTRIES,
    NO_PARTIALS,
    as_kept,
    as_settled,
    ledger_sums,
    newest,
    of_some_sites,
    series,
    waiting_days,
)
from hitmesh.adapters.shared.positions import refuse_rows_behind
from hitmesh.adapters.shared.snapshots import replaces
from hitmesh.model.errors import Fenced
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic
from hitmesh.model.rows.stream_columns import LEDGER_COLUMNS, PARTIAL_COLUMNS, SERIES_COLUMNS
from hitmesh.model.sites import SiteDay
from hitmesh.model.stream_values import FoldedRows, SnapshotManifest


class MemoryOutbox:
    """An Outbox over the log's positions and the rows that reports read.

    Args:
        log: stores the positions.
        rows: stores the rows.
        group: the consumer group of the positions.
    """

    def __init__(self, log: MemoryLog, rows: MemoryRows, group: str) -> None:
        self._log = log
        self._rows = rows
        self._group = group
        self._lock = threading.Lock()
        self._writer = 0

    def take_over(self) -> int:
        """Fence every earlier writer; return this writer's number."""
        with self._lock:
            self._writer += 1
            return self._writer

    def resolve(self, writer: int) -> None:
        """Return immediately: no transaction is pending after its call.

        Raises:
            Fenced: a later writer took over.
        """
        with self._lock:
            self._refuse_others(writer)

    def transaction(
        self, writer: int, rows: Sequence[FoldedRows], positions: Mapping[PartitionId, PartitionProgress]
    ) -> None:
        """Commit rows and positions.

        Raises:
            Fenced: a later writer took over; nothing was written.
            PartitionsMoved: rows come with a position that is not ahead; nothing was written.
            ValueError: a position is missing or belongs to no log of this store, or rows have another generation.
        """
        by_topic: dict[Topic, dict[PartitionId, PartitionProgress]] = {}
        for partition, progress in positions.items():
            by_topic.setdefault(self._log.topic_of(partition.log), {})[partition] = progress
        with self._lock:
            self._refuse_others(writer)
            committed = (self._log.committed(topic, self._group) for topic in by_topic)
            refuse_rows_behind(
                rows, positions, {key: value for topic_positions in committed for key, value in topic_positions.items()}
            )
            self._rows.add(rows)
            for topic, of_topic in by_topic.items():
                self._log.commit(topic, self._group, of_topic)

    def committed(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return the committed positions of every declared partition of both topics."""
        with self._lock:
            return {
                partition: progress
                for topic in Topic
                for partition, progress in self._log.committed(topic, self._group).items()
            }

    def _refuse_others(self, writer: int) -> None:
        if writer != self._writer:
            raise Fenced(f"writer {writer} is fenced: writer {self._writer} took over")


class MemorySeriesStore:
    """A SeriesStore in memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._partials = NO_PARTIALS
        self._settled: dict[tuple[SiteDay, int], pl.DataFrame] = {}
        self._flushed: dict[PartitionId, PartitionProgress] = {}

    def put_partials(self, partials: pl.DataFrame) -> None:
        """Store partials; a partial with a smaller `written` than the stored partial is ignored."""
        put = as_kept(partials, PARTIAL_COLUMNS)
        with self._lock:
            self._partials = newest(pl.concat([self._partials, put]), PARTIAL_COLUMNS)

    def read(self, site: str, first_day: int, end_day: int, generation: int) -> pl.DataFrame:
        """Return SERIES_COLUMNS: settled series where stored, otherwise partials added up over epochs."""
        days = pl.col("day").is_between(first_day, end_day, closed="left")
        wanted = (pl.col("site") == site) & (pl.col("generation") == generation) & days
        with self._lock:
            settled = {
                site_day.day: rows
                for (site_day, of_generation), rows in self._settled.items()
                if (site_day.site, of_generation) == (site, generation) and first_day <= site_day.day < end_day
            }
            streamed = self._partials.filter(wanted & ~pl.col("day").is_in(list(settled)))
        return series(pl.concat([streamed.select(list(SERIES_COLUMNS)), *settled.values()]))

    def put_settled(self, site_day: SiteDay, generation: int, rows: pl.DataFrame) -> None:
        """Store a site-day's settled series, replacing earlier settled series."""
        put = as_settled(rows, site_day)
        with self._lock:
            self._settled[site_day, generation] = put

    def note_flushed(self, through: Mapping[PartitionId, PartitionProgress]) -> None:
        """Note the positions before which partials are stored; a position never moves back."""
        with self._lock:
            for partition, progress in through.items():
                if progress.next_offset >= self._flushed.get(partition, progress).next_offset:
                    self._flushed[partition] = progress

    def flushed(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return the positions noted last."""
        with self._lock:
            return dict(self._flushed)

    def drop(self, site: str, day: int, generation: int) -> None:
        """Remove everything stored for a site-day's generation; idempotent."""
        gone = (pl.col("site") == site) & (pl.col("day") == day) & (pl.col("generation") == generation)
        with self._lock:
            self._partials = self._partials.filter(~gone)
            self._settled.pop((SiteDay(site, day), generation), None)


class MemoryLedger:
    """A Ledger in memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries = NO_ENTRIES

    def put(self, entries: pl.DataFrame) -> None:
        """Store entries; an entry with a smaller `written` than the stored entry is ignored."""
        put = as_kept(entries, LEDGER_COLUMNS)
        with self._lock:
            self._entries = newest(pl.concat([self._entries, put]), LEDGER_COLUMNS)

    def read(self, site: str | None) -> pl.DataFrame:
        """Return LEDGER_SUMS added up over partitions and epochs, for a site; for None, all entries."""
        with self._lock:
            entries = self._entries
        return ledger_sums(entries if site is None else entries.filter(pl.col("site") == site))

    def waiting(self, site: str, first_day: int, end_day: int) -> set[int]:
        """Return the days with hits that wait for settlement."""
        return waiting_days(self.read(site), first_day, end_day)

    def read_some(self, after: str | None, max_sites: int) -> tuple[pl.DataFrame, str | None]:
        """Return the sums of the next sites by name, and the last of these sites; None at the end."""
        return of_some_sites(self.read(None), after, max_sites)


class MemoryStateStore:
    """A StateStore in memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._chunks: dict[tuple[PartitionId, int, int], list[bytes]] = {}
        self._manifests: dict[PartitionId, SnapshotManifest] = {}

    def save_chunks(self, partition: PartitionId, writer: int, next_offset: int, chunks: Sequence[bytes]) -> None:
        """Store a snapshot's chunks; invisible without a manifest."""
        with self._lock:
            self._chunks[partition, writer, next_offset] = list(chunks)

    def save_manifest(self, manifest: SnapshotManifest) -> bool:
        """Make a snapshot visible and delete older snapshots; return False when a newer snapshot exists."""
        key = (manifest.partition, manifest.writer, manifest.position.next_offset)
        with self._lock:
            if not replaces(manifest, self._manifests.get(manifest.partition)):
                return False
            self._manifests[manifest.partition] = manifest
            self._chunks = {
                chunk_key: chunks
                for chunk_key, chunks in self._chunks.items()
                if chunk_key[0] != manifest.partition or chunk_key[1:] >= key[1:]
            }
        return True

    def load(self, partition: PartitionId, logic_version: int) -> tuple[SnapshotManifest, Sequence[bytes]] | None:
        """Return the newest snapshot from this logic version; None if absent or if a chunk is missing."""
        with self._lock:
            manifest = self._manifests.get(partition)
            if manifest is None or manifest.logic_version != logic_version:
                return None
            chunks = self._chunks.get((partition, manifest.writer, manifest.position.next_offset), [])
        return (manifest, list(chunks)) if len(chunks) == manifest.chunks else None
