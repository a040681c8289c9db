"""Test the stores of a shadow stream: which records the stream reads, when, and where the rows are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hitmesh.adapters.factory import Stores, open_stores
from hitmesh.adapters.memory.log import MemoryLog
from hitmesh.adapters.memory.log_reader import MemoryLogReader
from hitmesh.adapters.shared.catalogue import shadow_group
from hitmesh.model.errors import PartitionsMoved
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic
from hitmesh.model.records import LoggedRecord, Record, RecordKind
from hitmesh.model.sites import SiteDay
from hitmesh.model.streams import ShadowState, Stream, StreamTable
from hitmesh.ports import LogReader, LogScan
from processor.building import stream_stores
from processor.shadow.stores import begin_at_start, shadow_stores
from processor.stream.runner import Runner
from processor.stream.stores import StreamStores
from tests.reference.hits import RefHit
from tests.support.clock import ManualClock
from tests.support.opened import NOON
from tests.support.small_mesh import SmallMesh
from tests.support.stored_rows import DAY, SHOP
from tests.support.stream_builders import a_partial, partials
from tests.unit.settling import SITE

STREAM = Stream(-1, first_day=DAY, logic="v1", replaces="v0")
STARTED = StreamTable().started(STREAM, NOON)


class MovedReader(MemoryLogReader):
    """A reader in a consumer group.

    If the group has taken partitions away, the next call raises PartitionsMoved once.
    """

    beats = 0
    is_moved = False

    def poll(self, max_hits: int, timeout_s: float) -> list[LoggedRecord]:
        self._report()
        return super().poll(max_hits, timeout_s)

    def heartbeat(self) -> None:
        self.beats += 1
        self._report()

    def _report(self) -> None:
        if self.is_moved:
            self.is_moved, self._next = False, dict(self.committed())
            raise PartitionsMoved("the group has changed", retry_after_s=0)


class Beside:
    """A shadow stream beside a live stream. The log has one partition of hits, and this partition has heartbeats."""

    def __init__(self, stream: Stream = STREAM, records: int = 3) -> None:
        self.clock = ManualClock(NOON)
        self.stores: Stores = open_stores("memory:", self.clock, partitions={Topic.HITS: 1, Topic.REJECTED: 1})
        (self.at,) = self.stores.progress.progress(Topic.HITS)
        self.change(StreamTable().started(stream, NOON))
        self.stream = stream
        for number in range(records):
            self.clock.advance(1)
            self.stores.log.append(Topic.HITS, 0, Record(RecordKind.HEARTBEAT, max_collect_time=NOON + number))

    def change(self, table: StreamTable) -> None:
        assert self.stores.streams.replace(table)

    def live_at(self, offset: int) -> None:
        outbox = self.stores.outbox
        outbox.transaction(outbox.take_over(), [], {self.at: PartitionProgress(offset, NOON + offset)})

    def opened(self, log_scan: LogScan | None = None, progress: Callable[[], None] = lambda: None) -> StreamStores:
        """Return the stores of the shadow stream.

        `progress` is called before each read of the live stream's progress.
        """
        base, live = stream_stores(self.stores), self.stores.progress

        class Live:
            def progress(self, topic: Topic) -> Mapping[PartitionId, PartitionProgress]:
                progress()
                return live.progress(topic)

        store = self.stores.stream(self.stream.generation, is_shadow=True)
        log = self.stores.log
        assert isinstance(log, MemoryLog)
        self.reader = MovedReader(log, Topic.HITS, "shadow")
        store = replace(store, log_reader=lambda _: self.reader)
        base = replace(base, log_scan=log_scan or base.log_scan)
        return shadow_stores(self.stream, base, store, self.stores.streams, Live())

    def reading(self) -> LogReader:
        return self.opened().log_reader(Topic.HITS)


def offsets(records: Sequence[LoggedRecord]) -> list[int]:
    return [record.position.offset for record in records]


def test_a_shadow_reads_what_the_live_stream_has_committed_and_stays_in_its_group_meanwhile() -> None:
    mesh = Beside()
    mesh.live_at(1)
    reader = mesh.reading()
    assert (offsets(reader.poll(99, 0.0)), mesh.reader.beats) == ([0], 0)
    assert (offsets(reader.poll(99, 0.0)), mesh.reader.beats) == ([], 1)
    mesh.live_at(3)
    assert (offsets(reader.poll(99, 0.0)), mesh.reader.beats) == ([1, 2], 2)


def test_positions_of_a_shadow_are_those_after_the_returned_records() -> None:
    mesh = Beside()
    reader = mesh.reading()
    assert offsets(reader.poll(99, 0.0)) == []
    assert reader.positions() == {mesh.at: PartitionProgress(0, 0)}
    mesh.live_at(2)
    second = reader.poll(99, 0.0)[-1]
    assert reader.positions() == {mesh.at: PartitionProgress(2, second.log_time)}
    mesh.live_at(3)
    third = reader.poll(99, 0.0)[-1]
    assert reader.positions() == {mesh.at: PartitionProgress(3, third.log_time)}


@pytest.mark.parametrize("call", [lambda reader: reader.poll(99, 0.0), lambda reader: reader.heartbeat()])
def test_records_that_wait_are_read_again_after_partitions_have_moved(call: Callable[[LogReader], object]) -> None:
    mesh = Beside()
    mesh.live_at(2)
    reader = mesh.reading()
    assert offsets(reader.poll(99, 0.0)) == [0, 1]
    mesh.reader.is_moved = True
    with pytest.raises(PartitionsMoved):
        call(reader)
    assert reader.positions() == {mesh.at: PartitionProgress(0, 0)}, "nothing was committed"
    mesh.live_at(3)
    assert offsets(reader.poll(99, 0.0)) == [0, 1, 2]


def test_a_shadow_that_was_adopted_meanwhile_returns_nothing_that_the_new_live_stream_has_committed() -> None:
    mesh = Beside()

    def adopted_and_ahead() -> None:
        if mesh.stores.streams.read() == STARTED:
            adopting = STARTED.moved(ShadowState.ADOPTING, NOON)
            mesh.change(adopting)
            mesh.change(adopting.ended(NOON))
            mesh.live_at(3)

    reader = mesh.opened(progress=adopted_and_ahead).log_reader(Topic.HITS)
    assert [offsets(reader.poll(99, 0.0)) for _ in range(2)] == [[], []]


def test_a_log_that_is_kept_from_the_start_of_a_stream_lacks_none_of_its_records() -> None:
    mesh = Beside()
    scan = mesh.stores.log_scan

    class Trimmed:
        offset_at, read = staticmethod(scan.offset_at), staticmethod(scan.read)

        def first_offset(self, partition: PartitionId) -> int:
            return 2

    for start, first in ((1, 2), (2, 0), (3, 0)):
        mesh.stream = replace(STREAM, starts={mesh.at: start})
        assert mesh.opened(Trimmed()).log_scan.first_offset(mesh.at) == first
    assert offsets(list(mesh.opened().log_scan.read(mesh.at, 0, 9))) == []
    mesh.stream = replace(STREAM, starts={mesh.at: 2})
    assert offsets(list(mesh.opened().log_scan.read(mesh.at, 0, 9))) == [2]


def test_a_shadow_begins_at_its_start_and_goes_on_where_it_was() -> None:
    mesh = Beside()
    stream = replace(STREAM, starts={mesh.at: 2})
    store = mesh.stores.stream(-1, is_shadow=True)
    for reached, expected in ((0, 2), (3, 3)):
        if reached:
            store.outbox.transaction(store.outbox.take_over(), [], {mesh.at: PartitionProgress(reached, NOON)})
        begin_at_start(stream, store)
        assert store.progress.progress(Topic.HITS)[mesh.at].next_offset == expected


def test_partials_of_a_shadow_begin_with_its_first_day() -> None:
    mesh = Beside()
    series = mesh.opened().series
    series.put_partials(partials(*(a_partial(day=day, hits=3) for day in (DAY - 1, DAY, DAY + 1))))
    found = {generation: series.read(SHOP, DAY - 1, DAY + 2, generation) for generation in (0, -1)}
    assert {generation: sorted(rows["day"]) for generation, rows in found.items()} == {0: [], -1: [DAY, DAY + 1]}


def test_hits_that_wait_are_counted_once_after_partitions_of_the_other_topic_have_moved(tmp_path: Path) -> None:
    mesh = SmallMesh(NOON, sites=[SITE])
    hits = [RefHit(SITE, "v", f"hit-{number}", NOON - 60_000 * number, page_path="/") for number in range(3)]
    mesh.send(hits)
    stores, log = mesh.stores, mesh.stores.log
    assert isinstance(log, MemoryLog)
    stream = replace(STREAM, first_day=0)
    assert stores.streams.replace(StreamTable().started(stream, NOON))
    store = stores.stream(-1, is_shadow=True)
    readers = {topic: MovedReader(log, topic, shadow_group(-1)) for topic in Topic}
    store = replace(store, log_reader=lambda topic: readers[topic])
    runner = Runner(
        shadow_stores(stream, stream_stores(stores), store, stores.streams, stores.progress), mesh.clock, home=tmp_path
    )
    assert runner.step(0.0) == 0, "the live stream has not committed the hits"
    readers[Topic.REJECTED].is_moved = True
    with pytest.raises(PartitionsMoved):
        runner.step(0.0)
    assert runner.step(0.0) == 0
    mesh.stream()
    mesh.runner.flush()
    while runner.step(0.0):
        pass
    runner.flush()
    runner.close()
    today = SiteDay(SITE, NOON // 86_400_000)
    assert [stores.metrics.stream_sums([today], generation)[today]["hits"] for generation in (0, -1)] == [3, 3]
