"""LogScan."""

from __future__ import annotations

from hitmesh.adapters.factory import Stores
from hitmesh.model.positions import Topic
from hitmesh.model.records import LoggedRecord, Record, RecordKind
from hitmesh.ports import LogReader
from tests.support.clock import ManualClock
from tests.support.opened import NOON
from tests.support.stored_rows import VISIBLE_S
from tests.support.stream_builders import (
    a_partition,
)
from tests.support.waiting import eventually


def append(stores: Stores, partition: int, *values: bytes) -> None:
    for value in values:
        stores.log.append(Topic.HITS, partition, Record(RecordKind.HITS, value, 1, 1, 2)).result(5)


def polled(reader: LogReader, count: int) -> list[LoggedRecord]:
    """Return the next records.

    Poll repeatedly, because a group may take seconds to assign partitions to a new reader.
    """
    found: list[LoggedRecord] = []

    def are_all_there() -> bool:
        found.extend(reader.poll(1_000, 0.1))
        return len(found) >= count

    eventually(are_all_there, f"{count} records are read", VISIBLE_S)
    return found


class TestLogScan:
    def test_records_are_read_again_whatever_was_committed(self, stores: Stores) -> None:
        append(stores, 1, *[str(n).encode() for n in range(100)])
        partition = a_partition(stores, 1)
        reader = stores.log_reader(Topic.HITS, "g")
        first = polled(reader, 100)
        reader.commit(reader.positions())
        found: list[LoggedRecord] = list(stores.log_scan.read(partition, 0, 100))
        assert found == first
        assert [logged.position.offset for logged in stores.log_scan.read(partition, 7, 9)] == [7, 8]
        assert len(list(stores.log_scan.read(partition, 98, 10**9))) == 2
        assert list(stores.log_scan.read(partition, 5, 5)) == []
        assert list(stores.log_scan.read(a_partition(stores, 0), 0, 5)) == []

    def test_records_from_the_middle_have_the_log_times_of_the_first_reading(
        self, stores: Stores, clock: ManualClock
    ) -> None:
        """Log time must not decrease if records from an hour ago follow a record that was collected now."""
        ages_ms = (0, *[3_600_000] * 100)
        beats = [Record(RecordKind.HEARTBEAT, max_collect_time=clock.now() - age_ms) for age_ms in ages_ms]
        for appended in [stores.log.append(Topic.HITS, 0, beat) for beat in beats]:
            appended.result(VISIBLE_S)
        first = polled(stores.log_reader(Topic.HITS, "g"), 101)
        for offset in (1, 50, 99):
            for known in (first[offset - 1].log_time, first[offset].log_time):
                assert list(stores.log_scan.read(a_partition(stores), offset, 101, known)) == first[offset:]

    def test_offsets_are_found_by_log_time(self, stores: Stores, clock: ManualClock) -> None:
        for _ in range(10):
            clock.advance(1_000)
            append(stores, 0, b"a", b"b")
        partition, scan = a_partition(stores), stores.log_scan
        # Take the expected log times from the log, because a broker does not use the test's clock.
        times = [logged.log_time for logged in scan.read(partition, 0, 20)]
        assert times == sorted(times)
        assert scan.first_offset(partition) == 0
        for log_time in sorted({0, *times, *(known_time + 1 for known_time in times)}):
            expected = next((offset for offset, known_time in enumerate(times) if known_time >= log_time), 20)
            assert scan.offset_at(partition, log_time) == expected
        assert scan.offset_at(a_partition(stores, 1), NOON) == 0
        assert scan.first_offset(a_partition(stores, 1)) == 0

    def test_other_topic_is_another_log(self, stores: Stores) -> None:
        append(stores, 0, b"hit")
        assert list(stores.log_scan.read(a_partition(stores, 0, Topic.REJECTED), 0, 9)) == []

    def test_trimmed_records_are_not_there(self, stores: Stores, clock: ManualClock) -> None:
        for _ in range(4):
            append(stores, 0, b"v")
            clock.advance(1_000)
        reader, partition = stores.log_reader(Topic.HITS, "g"), a_partition(stores)
        polled(reader, 4)
        reader.commit(reader.positions())
        gone = stores.trim(NOON + 2_000)
        assert stores.log_scan.first_offset(partition) == gone
        assert stores.log_scan.offset_at(partition, 0) == gone
        assert [logged.position.offset for logged in stores.log_scan.read(partition, 0, 9)] == list(range(gone, 4))
        if stores.trim(NOON + 10_000):
            assert stores.log_scan.first_offset(partition) == 4
            assert stores.log_scan.offset_at(partition, 0) == 4
            assert list(stores.log_scan.read(partition, 0, 9)) == []
