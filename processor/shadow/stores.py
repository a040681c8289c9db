"""The stores of a stream that began in the middle of the log or runs in parallel to the live stream (architecture A9).

Each of these streams has its own generation. The stream writes no rows for days before its first day, and reads no
record before its start. A shadow also never reads ahead of the live stream. When a shadow applies a record, the live
stream has already stored the raw record, the dirty marks and the claims, and has decided which claim wins an order.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import polars as pl

from hitmesh.model.errors import PartitionsMoved
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic
from hitmesh.model.records import LoggedRecord
from hitmesh.model.sites import SiteDay
from hitmesh.model.stream_values import FoldedRows
from hitmesh.model.streams import FIRST, Stream
from hitmesh.ports import LogReader, LogScan, Outbox, ProgressReader, SeriesStore, Streams, StreamStore
from processor.shadow.adoption import goes_on
from processor.stream.stores import StreamStores

_LOOK_EVERY_S: Final = 0.05


def stores_of(stream: Stream, base: StreamStores, store: StreamStore) -> StreamStores:
    """Return the stores of the live stream, given its table entry."""
    if stream == FIRST:
        return replace(base, log_reader=store.log_reader, outbox=store.outbox, series=store.series, states=store.states)
    return replace(
        base,
        log_reader=store.log_reader,
        log_scan=_ScanFromStart(base.log_scan, stream.starts),
        outbox=_OwnOutbox(store.outbox, stream),
        series=_OwnSeries(store.series, stream),
        states=store.states,
    )


def live_stores(stream: Stream, base: StreamStores, store: StreamStore, streams: Streams) -> StreamStores:
    """Return the stores of the live stream's runner. The runner ends if another stream is live."""
    return replace(
        stores_of(stream, base, store),
        log_reader=lambda topic: _LiveReader(store.log_reader(topic), lambda: goes_on(streams, stream)),
    )


def shadow_stores(
    stream: Stream, base: StreamStores, store: StreamStore, streams: Streams, live: ProgressReader
) -> StreamStores:
    """Return the stores of a shadow stream. The shadow reads no record beyond `live`, the live stream's progress."""

    def is_beside() -> bool:
        shadow = streams.read().shadow
        return shadow is not None and shadow.stream.generation == stream.generation

    return replace(
        stores_of(stream, base, store),
        log_reader=lambda topic: _FollowingReader(store.log_reader(topic), topic, live, is_beside),
        stores_hits=False,
    )


def begin_at_start(stream: Stream, store: StreamStore) -> None:
    """In each partition, commit the stream's start as its position, unless the committed position is already later.

    All other processes are fenced before the positions are compared. If another process has already begun, this process
    therefore never moves the positions back.

    Raises:
        Fenced: another process began at the same time.
    """
    writer = store.beginning.take_over()
    starts = {partition: PartitionProgress(at, 0) for partition, at in stream.starts.items() if at}
    if starts:
        store.beginning.transaction(writer, [], starts)


class _WrappedReader:
    """A LogReader that calls another LogReader. An instance must be used by one thread only."""

    def __init__(self, reader: LogReader) -> None:
        self._reader = reader

    def poll(self, max_hits: int, timeout_s: float) -> list[LoggedRecord]:
        """Return the next records."""
        return self._reader.poll(max_hits, timeout_s)

    def heartbeat(self) -> None:
        """Tell the consumer group that this reader is alive."""
        self._reader.heartbeat()

    def before_moves(self, hand_over: Callable[[], None]) -> None:
        """Call `hand_over` before this reader gives up partitions."""
        self._reader.before_moves(hand_over)

    def positions(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return the read positions."""
        return self._reader.positions()

    def committed(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return the committed positions."""
        return self._reader.committed()

    def commit(self, positions: Mapping[PartitionId, PartitionProgress]) -> None:
        """Commit positions."""
        self._reader.commit(positions)

    def close(self) -> None:
        """Close the reader."""
        self._reader.close()


class _LiveReader(_WrappedReader):
    """A LogReader for a live stream's runner. The runner begins only if no other stream is live."""

    def __init__(self, reader: LogReader, goes_on: Callable[[], bool]) -> None:
        super().__init__(reader)
        self._goes_on = goes_on

    def positions(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return the positions from which the runner begins.

        Raises:
            PartitionsMoved: another stream is the live stream.
        """
        found = super().positions()
        if not self._goes_on():
            raise PartitionsMoved("the live stream continues as a shadow stream", retry_after_s=0.1)
        return found


class _FollowingReader(_WrappedReader):
    """A LogReader that returns a record only after the live stream has committed the record.

    An instance must be used by one thread only. The live stream's progress is read first, and `is_beside` is called
    afterwards. If `is_beside` returns True, the shadow had not been adopted when the progress was read. The shadow may
    then apply records up to the progress that was read.

    The inner reader has already read some records that this reader has not returned yet. `positions` returns the
    positions after the returned records. If a runner keeps this reader, the runner recovers up to the returned
    positions, and then gets the records that were not returned yet.
    """

    def __init__(self, reader: LogReader, topic: Topic, live: ProgressReader, is_beside: Callable[[], bool]) -> None:
        super().__init__(reader)
        self._topic = topic
        self._live = live
        self._is_beside = is_beside
        self._held: list[LoggedRecord] = []
        self._returned = dict(reader.positions())
        self._waiting = threading.Event()

    def poll(self, max_hits: int, timeout_s: float) -> list[LoggedRecord]:
        """Return the next records that the live stream has committed. The records of a partition are in order.

        Raises:
            PartitionsMoved: the assignment changed.
        """
        if self._held:
            self.heartbeat()
        else:
            self._held = self._reader.poll(max_hits, timeout_s)
        if not self._held:
            return []
        reached = self._live.progress(self._topic)
        if not self._is_beside():
            reached = {}
        free = [record for record in self._held if _is_before(record, reached)]
        self._held = [record for record in self._held if not _is_before(record, reached)]
        for record in free:
            self._returned[_partition_of(record)] = PartitionProgress(record.position.offset + 1, record.log_time)
        if not free:
            self._waiting.wait(min(timeout_s, _LOOK_EVERY_S))
        return free

    def heartbeat(self) -> None:
        """Tell the consumer group that this reader is alive.

        Raises:
            PartitionsMoved: the assignment changed.
        """
        try:
            self._reader.heartbeat()
        except PartitionsMoved:
            self._held = []
            raise

    def positions(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return the positions after the records that `poll` has returned."""
        held = set(map(_partition_of, self._held))
        read = self._reader.positions()
        self._returned = {at: self._returned[at] if at in held else reached for at, reached in read.items()}
        return dict(self._returned)


def _partition_of(record: LoggedRecord) -> PartitionId:
    return PartitionId(record.position.log, record.position.partition)


def _is_before(record: LoggedRecord, reached: Mapping[PartitionId, PartitionProgress]) -> bool:
    progress = reached.get(_partition_of(record))
    return progress is not None and record.position.offset < progress.next_offset


class _ScanFromStart:
    """A LogScan without records before the stream's start, so that a recovery applies only the stream's records."""

    def __init__(self, scan: LogScan, starts: Mapping[PartitionId, int]) -> None:
        self._scan = scan
        self._starts = starts

    def first_offset(self, partition: PartitionId) -> int:
        """Return 0 if the log still has all records of the stream; otherwise, return the log's first offset."""
        first = self._scan.first_offset(partition)
        return 0 if first <= self._starts.get(partition, 0) else first

    def offset_at(self, partition: PartitionId, log_time: int) -> int:
        """Return the first offset in the log whose log time is at least `log_time`."""
        return self._scan.offset_at(partition, log_time)

    def read(
        self, partition: PartitionId, first_offset: int, end_offset: int, log_time: int = 0
    ) -> Iterator[LoggedRecord]:
        """Yield the stream's records of [first_offset, end_offset) that are still in the log, in order."""
        return self._scan.read(partition, max(first_offset, self._starts.get(partition, 0)), end_offset, log_time)


class _OwnOutbox:
    """An Outbox for rows of the stream's generation, beginning with the stream's first day."""

    def __init__(self, outbox: Outbox, stream: Stream) -> None:
        self._outbox = outbox
        self._stream = stream

    def take_over(self) -> int:
        """Fence every earlier writer of the stream. Return this writer's number."""
        return self._outbox.take_over()

    def resolve(self, writer: int) -> None:
        """Block until this writer has no pending transaction."""
        self._outbox.resolve(writer)

    def transaction(
        self, writer: int, rows: Sequence[FoldedRows], positions: Mapping[PartitionId, PartitionProgress]
    ) -> None:
        """Commit rows and positions."""
        store = [
            FoldedRows(each.partition, _own(each.traffic, self._stream), _own(each.visits, self._stream))
            for each in rows
        ]
        self._outbox.transaction(
            writer, [each for each in store if each.traffic.height or each.visits.height], positions
        )

    def committed(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return the committed positions."""
        return self._outbox.committed()


class _OwnSeries:
    """A SeriesStore for partials of the stream's generation, beginning with the stream's first day."""

    def __init__(self, series: SeriesStore, stream: Stream) -> None:
        self._series = series
        self._stream = stream

    def put_partials(self, partials: pl.DataFrame) -> None:
        """Store partials."""
        self._series.put_partials(_own(partials, self._stream))

    def read(self, site: str, first_day: int, end_day: int, generation: int) -> pl.DataFrame:
        """Return a generation's series."""
        return self._series.read(site, first_day, end_day, generation)

    def put_settled(self, site_day: SiteDay, generation: int, rows: pl.DataFrame) -> None:
        """Store a site-day's settled series."""
        self._series.put_settled(site_day, generation, rows)

    def note_flushed(self, through: Mapping[PartitionId, PartitionProgress]) -> None:
        """Store the positions before which the partials of all records are stored."""
        self._series.note_flushed(through)

    def flushed(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return the stored positions."""
        return self._series.flushed()

    def drop(self, superseded: Sequence[tuple[SiteDay, int]]) -> None:
        """Remove all values stored for these generations."""
        self._series.drop(superseded)


def _own(rows: pl.DataFrame, stream: Stream) -> pl.DataFrame:
    """Return the rows from the stream's first day onwards, under the stream's generation."""
    generation = pl.lit(stream.generation, rows.schema["generation"]).alias("generation")
    return rows.filter(pl.col("day") >= stream.first_day).with_columns(generation)
