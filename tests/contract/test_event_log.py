"""Contract tests for the ports EventLog, LogReader and ProgressReader."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from hitmesh.adapters.embedded.catalogue import LogCatalogue
from hitmesh.adapters.embedded.log import EmbeddedLog
from hitmesh.adapters.embedded.raw_schema import RAW_SCHEMA
from hitmesh.adapters.embedded.reader_positions import ReaderPositions
from hitmesh.adapters.embedded.schema import LOG_SCHEMA
from hitmesh.adapters.embedded.sqlite import Database
from hitmesh.adapters.factory import Stores
from hitmesh.adapters.memory.log import MemoryLog
from hitmesh.model.errors import LogFull, RetryError, Unavailable
from hitmesh.model.positions import LoggedPosition, PartitionId, PartitionProgress, Position, Topic
from hitmesh.model.records import LoggedRecord, Record, RecordKind
from hitmesh.ports import Clock, EventLog
from tests.support.clock import ManualClock
from tests.support.opened import NOON, Opener

FullLog = Callable[[Path, ManualClock], AbstractContextManager[tuple[EventLog, ExitStack]]]


def a_record(value: bytes = b"value", rows: int = 1, collected: int = NOON) -> Record:
    return Record(RecordKind.HITS, value, rows, 1, 2, collected, 1, "collector-0", "lists-1")


def append(stores: Stores, partition: int, *values: bytes, rows: int = 1) -> list[Position]:
    futures = [stores.log.append(Topic.HITS, partition, a_record(value, rows)) for value in values]
    return [future.result(5).position for future in futures]


def values_of(records: list[LoggedRecord]) -> list[bytes]:
    return [logged.record.value for logged in records]


class TestEventLog:
    def test_every_topic_has_its_declared_partitions(self, stores: Stores) -> None:
        assert stores.log.partitions(Topic.HITS) == 4
        assert stores.log.partitions(Topic.REJECTED) == 1

    def test_log_id_is_the_topics_own_and_stays(self, opener: Opener) -> None:
        first = opener().log.log_id(Topic.HITS)
        assert opener().log.log_id(Topic.HITS) == first
        assert opener().log.log_id(Topic.REJECTED) != first
        assert not first.startswith("-")

    def test_record_comes_back_as_it_was_appended(self, stores: Stores, taken_at: int) -> None:
        record = Record(RecordKind.HEARTBEAT, b"\x00\xff", 7, -5, 12, NOON, 3, "collector-ü", "lists-2")
        (position,) = [stores.log.append(Topic.HITS, 3, record).result(5).position]
        (logged,) = stores.log_reader(Topic.HITS, "g").poll(10, 1.0)
        assert logged == LoggedRecord(position, taken_at, record)

    def test_trace_context_of_a_record_is_read_back(self, stores: Stores) -> None:
        traced = replace(a_record(), trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        for record in (traced, a_record()):
            stores.log.append(Topic.HITS, 0, record).result(5)
        found = stores.log_reader(Topic.HITS, "g").poll(10, 1.0)
        assert [logged.record.trace for logged in found] == [traced.trace, ""]

    def test_counts_announced_by_a_record_are_read_back(self, stores: Stores) -> None:
        announced = Record(RecordKind.HITS, b"v", 1, 1, 2, NOON, hits=2**40, sum64=2**64 - 1, xor64=2**63)
        for record in (announced, a_record()):
            stores.log.append(Topic.HITS, 0, record).result(5)
        found = stores.log_reader(Topic.HITS, "g").poll(10, 1.0)
        assert [logged.record for logged in found] == [announced, a_record()]
        assert found[1].record.hits is None

    def test_order_is_kept_per_partition_and_offsets_rise(self, stores: Stores) -> None:
        values = [str(number).encode() for number in range(50)]
        offsets = [position.offset for position in append(stores, 1, *values)]
        assert offsets == sorted(set(offsets))
        assert values_of(stores.log_reader(Topic.HITS, "g").poll(100, 1.0)) == values

    def test_log_time_is_the_append_time(self, stores: Stores, log_clock: Clock) -> None:
        before = log_clock.now()
        logged = stores.log.append(Topic.HITS, 0, a_record(collected=before)).result(5)
        assert before <= logged.log_time <= log_clock.now()

    def test_log_time_is_at_most_ten_minutes_past_the_collect_time(self, stores: Stores) -> None:
        logged = stores.log.append(Topic.HITS, 0, a_record(collected=NOON - 3_600_000)).result(5)
        assert logged.log_time == NOON - 3_000_000

    def test_log_time_never_falls_within_a_partition(self, stores: Stores, taken_at: int) -> None:
        stores.log.append(Topic.HITS, 0, a_record()).result(5)
        late = a_record(collected=NOON - 3_600_000)
        assert stores.log.append(Topic.HITS, 0, late).result(5).log_time == taken_at
        assert stores.log.append(Topic.HITS, 1, late).result(5).log_time == NOON - 3_000_000

    def test_partition_that_is_not_there_is_refused(self, stores: Stores) -> None:
        with pytest.raises(ValueError, match="partition 4"):
            stores.log.append(Topic.HITS, 4, a_record())

    def test_flush_waits_for_every_append(self, stores: Stores) -> None:
        futures = [stores.log.append(Topic.HITS, 0, a_record()) for _ in range(100)]
        stores.log.flush(5)
        assert all(future.done() for future in futures)

    def test_close_resolves_what_waits_and_refuses_what_comes(self, stores: Stores) -> None:
        future = stores.log.append(Topic.HITS, 0, a_record())
        stores.log.close()
        stores.log.close()
        assert future.done()
        with pytest.raises(Unavailable):
            stores.log.append(Topic.HITS, 0, a_record())

    def test_two_writers_share_a_partition_without_loss(self, opener: Opener) -> None:
        first, second = opener(), opener()
        futures = [log.append(Topic.HITS, 0, a_record()) for _ in range(50) for log in (first.log, second.log)]
        offsets = {future.result(5).position.offset for future in futures}
        assert len(offsets) == 100
        assert len(first.log_reader(Topic.HITS, "g").poll(1_000, 1.0)) == 100


@contextmanager
def a_full_embedded_log(home: Path, clock: ManualClock) -> Iterator[tuple[EventLog, ExitStack]]:
    """Provide a log with room for three waiting records, and an ExitStack that holds a lock on the log's file."""
    file, other = Database(home / "log.db", LOG_SCHEMA), Database(home / "log.db", LOG_SCHEMA)
    positions = ReaderPositions(Database(home / "raw.db", RAW_SCHEMA))
    log = EmbeddedLog(file, LogCatalogue(file), positions, clock, max_queued_records=3)
    log.partitions(Topic.HITS)
    with ExitStack() as held:
        held.enter_context(other.writing())
        yield log, held
    log.close()
    file.close()
    other.close()


@contextmanager
def a_full_memory_log(_: Path, clock: ManualClock) -> Iterator[tuple[EventLog, ExitStack]]:
    yield MemoryLog(clock, max_bytes=40), ExitStack()


def fill(log: EventLog, taken: list[Future[LoggedPosition]]) -> None:
    for _ in range(100):
        taken.append(log.append(Topic.HITS, 0, a_record(b"12345678")))


@pytest.mark.parametrize("full_log", [a_full_memory_log, a_full_embedded_log])
class TestFullLog:
    def test_full_log_refuses_at_once_and_loses_nothing_it_took(
        self, full_log: FullLog, tmp_path: Path, clock: ManualClock
    ) -> None:
        with full_log(tmp_path, clock) as (log, held):
            taken: list[Future[LoggedPosition]] = []
            with pytest.raises(LogFull, match="the limit") as refusal:
                fill(log, taken)
            assert refusal.value.retry_after_s > 0
            held.close()
            offsets = [future.result(5).position.offset for future in taken]
            assert offsets == list(range(len(taken)))
            assert len(taken) >= 3

    def test_flush_that_exceeds_its_timeout_raises_a_retry_error(
        self, full_log: FullLog, tmp_path: Path, clock: ManualClock
    ) -> None:
        with full_log(tmp_path, clock) as (log, held):
            future = log.append(Topic.HITS, 0, a_record())
            if not future.done():
                with pytest.raises(RetryError):
                    log.flush(0.01)
            held.close()
            log.flush(5)
            assert future.done()


class TestLogReader:
    def test_poll_of_an_empty_log_returns_nothing(self, stores: Stores) -> None:
        assert stores.log_reader(Topic.HITS, "g").poll(10, 0.0) == []
        assert stores.log_reader(Topic.HITS, "g").poll(10, 0.02) == []

    def test_poll_wakes_for_a_record_appended_elsewhere(self, opener: Opener) -> None:
        reader, other = opener().log_reader(Topic.HITS, "g"), opener()
        assert reader.poll(10, 0.0) == []
        appender = threading.Timer(0.05, append, (other, 0, b"late"))
        appender.start()
        found = reader.poll(10, 10.0)
        appender.join()
        assert values_of(found) == [b"late"]

    def test_poll_returns_at_most_max_hits_rows_but_at_least_one_record(self, stores: Stores) -> None:
        append(stores, 0, b"a", b"b", b"c", rows=5)
        reader = stores.log_reader(Topic.HITS, "g")
        assert values_of(reader.poll(3, 1.0)) == [b"a"]
        assert values_of(reader.poll(10, 1.0)) == [b"b", b"c"]
        assert reader.poll(10, 0.0) == []

    def test_heartbeats_are_read_though_they_have_no_rows(self, stores: Stores, taken_at: int) -> None:
        stores.log.append(Topic.HITS, 2, Record(RecordKind.HEARTBEAT, max_collect_time=NOON)).result(5)
        reader = stores.log_reader(Topic.HITS, "g")
        assert [logged.record.kind for logged in reader.poll(1, 1.0)] == [RecordKind.HEARTBEAT]
        log = stores.log.log_id(Topic.HITS)
        assert reader.positions()[PartitionId(log, 2)] == PartitionProgress(1, taken_at)

    def test_all_partitions_are_read_each_in_its_order(self, stores: Stores, clock: ManualClock) -> None:
        for number in range(8):
            clock.advance(10)
            append(stores, 3 - number % 4, str(number).encode())
        reader = stores.log_reader(Topic.HITS, "g")
        found: list[LoggedRecord] = []
        while len(found) < 8:
            more = reader.poll(3, 5.0)
            assert 0 < len(more) <= 3
            assert [logged.log_time for logged in more] == sorted(logged.log_time for logged in more)
            found += more
        by_partition = {
            number: [logged for logged in found if logged.position.partition == number] for number in range(4)
        }
        assert {number: values_of(records) for number, records in by_partition.items()} == {
            3 - number: [str(number).encode(), str(number + 4).encode()] for number in range(4)
        }

    def test_positions_name_every_partition_and_what_comes_next(self, stores: Stores, taken_at: int) -> None:
        append(stores, 1, b"a", b"b")
        reader = stores.log_reader(Topic.HITS, "g")
        log = stores.log.log_id(Topic.HITS)
        assert set(reader.positions().values()) == {PartitionProgress(0, 0)}
        reader.poll(100, 1.0)
        assert dict(reader.positions()) == {
            PartitionId(log, number): PartitionProgress(2, taken_at) if number == 1 else PartitionProgress(0, 0)
            for number in range(4)
        }

    def test_new_reader_goes_on_where_the_group_committed(self, opener: Opener) -> None:
        stores = opener()
        append(stores, 0, b"a", b"b", b"c")
        reader = stores.log_reader(Topic.HITS, "g")
        reader.poll(1, 1.0)
        reader.commit(reader.positions())
        reader.poll(1, 1.0)
        reader.close()
        reader.close()
        again = opener().log_reader(Topic.HITS, "g")
        assert again.committed() == again.positions()
        assert values_of(again.poll(100, 1.0)) == [b"b", b"c"]
        assert len(opener().log_reader(Topic.HITS, "other").poll(100, 1.0)) == 3

    def test_commit_never_moves_back(self, stores: Stores) -> None:
        partition = PartitionId(stores.log.log_id(Topic.HITS), 0)
        reader = stores.log_reader(Topic.HITS, "g")
        reader.commit({partition: PartitionProgress(5, 50)})
        reader.commit({partition: PartitionProgress(3, 30)})
        assert reader.committed()[partition] == PartitionProgress(5, 50)
        reader.commit({partition: PartitionProgress(5, 60)})
        assert reader.committed()[partition] == PartitionProgress(5, 60)

    def test_topics_are_read_apart(self, stores: Stores) -> None:
        append(stores, 0, b"hit")
        stores.log.append(Topic.REJECTED, 0, a_record(b"refused")).result(5)
        assert values_of(stores.log_reader(Topic.REJECTED, "g").poll(10, 1.0)) == [b"refused"]


class TestProgress:
    def test_partitions_without_progress_are_at_the_start(self, stores: Stores) -> None:
        log = stores.log.log_id(Topic.REJECTED)
        assert stores.progress.progress(Topic.REJECTED) == {PartitionId(log, 0): PartitionProgress(0, 0)}

    def test_progress_is_what_the_processor_committed(self, opener: Opener) -> None:
        stores = opener()
        partition = PartitionId(stores.log.log_id(Topic.HITS), 2)
        stores.outbox.transaction(stores.outbox.take_over(), [], {partition: PartitionProgress(1, NOON)})
        stores.log_reader(Topic.HITS, "other").commit(
            {PartitionId(stores.log.log_id(Topic.HITS), 0): PartitionProgress(9, 9)}
        )
        seen = opener().progress.progress(Topic.HITS)
        assert [seen[key].next_offset for key in sorted(seen)] == [0, 0, 1, 0]
        assert seen[partition].log_time == NOON
