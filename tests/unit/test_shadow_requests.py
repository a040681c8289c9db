"""Test where a shadow stream begins, and when it has caught up with the live stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from control.__main__ import bookkeeping_of
from control.backend import Bookkeeping
from control.rpc.shadow.publish_shadow_stream import publish_shadow_stream
from control.rpc.shadow.requests import new_stream, shadow_message
from control.rpc.shadow.stop_shadow_stream import stop_shadow_stream
from hitmesh.access.callers import caller_with_key
from hitmesh.adapters.factory import Stores, open_stores
from hitmesh.api.control.v1 import shadow_pb2 as pb
from hitmesh.model.errors import RefusedError
from hitmesh.model.logic import V1
from hitmesh.model.names import OPERATORS
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic
from hitmesh.model.records import Record, RecordKind
from hitmesh.model.sites import IngestKey, KeyKind
from hitmesh.model.streams import CAUGHT_UP_MS, Stream, StreamTable
from hitmesh.ports import StreamStore
from tests.support.clock import ManualClock
from tests.support.reporters import control_backend

DAY_MS, HOUR = 86_400_000, 3_600_000
DAY = 20_000
BEGAN = DAY * DAY_MS - 26 * HOUR
"""The log time from which a stream reads the log if the first day of the stream is DAY."""
CLOSED = DAY * DAY_MS + 26 * HOUR
"""The last log time at which the day before DAY is not closed yet."""
OPERATOR = caller_with_key(IngestKey("operator-1", OPERATORS, KeyKind.OPERATOR))


class Mesh:
    """A mesh with two partitions of hits.

    Each partition has three records: before, at and after the log time BEGAN.
    """

    def __init__(self) -> None:
        self.clock = ManualClock(BEGAN - 1)
        self.stores: Stores = open_stores("memory:", self.clock, partitions={Topic.HITS: 2, Topic.REJECTED: 1})
        self.first, self.second = sorted(self.stores.progress.progress(Topic.HITS))
        for _ in range(3):
            for partition in (0, 1):
                beat = Record(RecordKind.HEARTBEAT, max_collect_time=self.clock.now())
                self.stores.log.append(Topic.HITS, partition, beat)
            self.clock.advance(1)
        self.control = control_backend(self.stores, self.clock, open_reads=False)
        self.books = bookkeeping_of(self.stores)

    def began(self) -> StreamTable:
        """Start a shadow stream, as the control service and the processor do."""
        table = StreamTable().started(Stream(-1, DAY, logic="v1"), self.clock.now())
        assert self.stores.streams.replace(table)
        assert self.stores.streams.replace(table.replacing("v0"))
        return self.stores.streams.read()

    def at(self, offset: int, log_time: int) -> dict[PartitionId, PartitionProgress]:
        return dict.fromkeys((self.first, self.second), PartitionProgress(offset, log_time))

    def commit(self, generation: int, at: Mapping[PartitionId, PartitionProgress]) -> None:
        outbox = self.stores.stream(generation, is_shadow=generation < 0).outbox
        outbox.transaction(outbox.take_over(), [], at)


def test_a_stream_begins_with_the_first_day_that_is_open_in_every_partition() -> None:
    mesh = Mesh()
    series = mesh.stores.series
    later = PartitionProgress(3, CLOSED + 9 * DAY_MS)
    series.note_flushed({mesh.first: PartitionProgress(3, CLOSED + 1), mesh.second: later})
    stream = new_stream(mesh.books, StreamTable(newest=-4), V1)
    assert (stream.generation, stream.first_day, stream.logic) == (-5, DAY, "v1")
    assert {at: stream.starts[at] for at in (mesh.first, mesh.second)} == {mesh.first: 1, mesh.second: 1}
    series.note_flushed({mesh.first: replace(later, next_offset=4), mesh.second: PartitionProgress(4, CLOSED)})
    assert new_stream(mesh.books, StreamTable(), V1).first_day == DAY - 1


def test_a_stream_whose_records_are_not_in_the_log_any_more_is_refused() -> None:
    mesh = Mesh()
    mesh.stores.series.note_flushed(mesh.at(3, CLOSED + 1))
    scan = mesh.stores.log_scan

    class Trimmed:
        offset_at, read = staticmethod(scan.offset_at), staticmethod(scan.read)

        def first_offset(self, partition: PartitionId) -> int:
            return 1 if partition == mesh.second else 0

    trimmed: Bookkeeping = replace(mesh.books, log_scan=Trimmed())
    with pytest.raises(RefusedError, match="partition 1 no longer has all hits"):
        new_stream(trimmed, StreamTable(), V1)


@pytest.mark.parametrize("late", ["progress", "ingested", "flushed"])
@pytest.mark.parametrize("behind_ms", [CAUGHT_UP_MS, CAUGHT_UP_MS + 1])
def test_a_shadow_has_caught_up_once_all_its_values_are_close_to_the_live_stream(late: str, behind_ms: int) -> None:
    mesh = Mesh()
    table, live, behind = mesh.began(), mesh.at(4, CLOSED), mesh.at(3, CLOSED - behind_ms)
    mesh.commit(0, live)
    mesh.commit(-1, behind if late == "progress" else live)
    shadow = mesh.stores.stream(-1, is_shadow=True)
    shadow.series.note_flushed(behind if late == "flushed" else live)

    def stream(generation: int, *, is_shadow: bool) -> StreamStore:
        store = mesh.stores.stream(generation, is_shadow=is_shadow)
        return replace(store, ingested_through=lambda: behind) if late == "ingested" else store

    found = shadow_message(replace(mesh.books, stream=stream), table)
    assert (found.lag.ToMilliseconds(), found.caught_up) == (behind_ms, behind_ms <= CAUGHT_UP_MS)


def test_a_shadow_that_is_behind_is_neither_published_nor_adopted() -> None:
    mesh = Mesh()
    mesh.began()
    mesh.commit(0, mesh.at(4, CLOSED))
    for offset in (3, 4):
        mesh.commit(-1, mesh.at(offset, CLOSED - CAUGHT_UP_MS - 1))
        mesh.stores.stream(-1, is_shadow=True).series.note_flushed(mesh.at(offset, CLOSED - CAUGHT_UP_MS - 1))
        if offset == 3:
            with pytest.raises(RefusedError, match="publish is possible once it is at most 60 s behind"):
                publish_shadow_stream(mesh.control, OPERATOR, pb.PublishShadowStreamRequest())
    publish_shadow_stream(mesh.control, OPERATOR, pb.PublishShadowStreamRequest())
    mesh.commit(0, mesh.at(5, CLOSED))
    with pytest.raises(RefusedError, match="stop is possible once it is at most 60 s behind"):
        stop_shadow_stream(mesh.control, OPERATOR, pb.StopShadowStreamRequest())
    assert mesh.stores.streams.read().current.generation == -1


def test_a_shadow_whose_processor_has_not_begun_has_not_caught_up() -> None:
    mesh = Mesh()
    table = StreamTable().started(Stream(-1, DAY, logic="v1"), mesh.clock.now())
    assert not shadow_message(mesh.books, table).caught_up
    assert shadow_message(mesh.books, table.replacing("v0")).caught_up
