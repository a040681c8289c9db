"""Test the log in Kafka: undecodable messages, deleted records, oversized records, and an unreachable broker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from hitmesh.adapters.kafka import schema
from hitmesh.adapters.kafka.log import MAX_VALUE_BYTES, KafkaEventLog
from hitmesh.adapters.kafka.records import HEADER, header_of
from hitmesh.adapters.servers import Servers
from hitmesh.internal.log.v1 import record_pb2
from hitmesh.model.errors import FatalError, LogFull, RetryError, StoreCorrupt, Unavailable
from hitmesh.model.positions import PartitionProgress, Topic
from hitmesh.model.records import LoggedRecord
from hitmesh.runtime.clock import SystemClock
from processor.stream.intake import take_in
from tests.real.kafka.parts import Parts, a_record, polled
from tests.support.opened import NOON
from tests.support.removal import remove_topics
from tests.support.servers import OPTIONS, apply


def trim(servers: Servers, partition: int, first_offset: int) -> None:
    """Delete the records before an offset, as retention does."""
    before = TopicPartition(servers.topic(Topic.HITS), partition, first_offset)
    admin = AdminClient({"bootstrap.servers": servers.kafka})
    admin.delete_records([before])[before].result(10)


def test_record_that_does_not_decode_is_set_aside_and_its_partition_goes_on(parts: Parts) -> None:
    unknown = record_pb2.RecordHeader(kind=record_pb2.RecordKind.ValueType(99), rows=1).SerializeToString()
    topic = parts.servers.topic(Topic.HITS)
    parts.append(0, b"before")
    parts.produce(
        topic, 0, (b"no header", []), (b"junk", [(HEADER, b"\xff\xff")]), (b"kind", [(HEADER, unknown)]), (b"", [])
    )
    parts.append(0, b"behind")
    records = polled(parts.reader("a"), 6)
    assert [logged.record.value for logged in records] == [b"before", b"no header", b"junk", b"kind", b"", b"behind"]
    assert [logged.position.offset for logged in records] == list(range(6))
    intake = take_in(records)
    assert {logged.position.offset for logged in intake.rejected} == set(range(6))
    assert len(intake.partitions[parts.partition()].ends) == 6
    assert list(parts.scan.read(parts.partition(), 0, 6)) == records


def test_offset_is_found_in_kafkas_own_index_of_times(parts: Parts) -> None:
    clock = SystemClock()
    records = [a_record(str(number).encode(), collected=clock.now()) for number in range(20)]
    appended = [parts.log.append(Topic.HITS, 2, record).result(10) for record in records]
    partition = parts.partition(2)
    for logged in appended:
        first = next(other.position.offset for other in appended if other.log_time >= logged.log_time)
        assert parts.scan.offset_at(partition, logged.log_time) == first
    assert parts.scan.offset_at(partition, appended[-1].log_time + 1) == 20
    assert parts.scan.offset_at(partition, 0) == 0


def test_log_time_in_the_middle_of_a_log_is_that_of_a_reader_from_its_start(parts: Parts) -> None:
    # The collect times of the test's records decrease. Log time does not decrease, because it is a running maximum.
    records = [a_record(b"v", collected=NOON - number) for number in range(30)]
    for record in records:
        parts.log.append(Topic.HITS, 0, record)
    parts.log.flush(10)
    whole = list(parts.scan.read(parts.partition(), 0, 30))
    assert len({logged.log_time for logged in whole}) == 1
    assert list(parts.scan.read(parts.partition(), 20, 25)) == whole[20:25]


def test_reader_goes_on_with_the_log_time_that_was_committed(parts: Parts) -> None:
    parts.append(0, b"first")
    reader = parts.reader("a")
    polled(reader, 1)
    reader.commit({parts.partition(): PartitionProgress(1, NOON * 2)})
    reader.close()
    parts.append(0, b"second")
    assert polled(parts.reader("a"), 1)[0].log_time == NOON * 2


def test_records_trimmed_before_they_were_read_end_the_reader_with_an_error(parts: Parts) -> None:
    parts.append(1, b"a", b"b", b"c")
    trim(parts.servers, 1, 2)
    with pytest.raises(FatalError, match=r"has records 2 to 3, but the group is committed at 0: records are lost"):
        parts.reader("a")


def test_records_trimmed_after_they_were_read_are_no_loss(parts: Parts) -> None:
    parts.append(1, b"a", b"b", b"c")
    reader = parts.reader("a")
    polled(reader, 3)
    reader.commit({parts.partition(1): PartitionProgress(2, NOON)})
    reader.close()
    trim(parts.servers, 1, 2)
    assert [logged.record.value for logged in polled(parts.reader("a"), 1)] == [b"c"]


def test_position_with_foreign_metadata_is_refused(parts: Parts) -> None:
    parts.append(0, b"a")
    reader = parts.reader("a")
    topic = parts.servers.topic(Topic.HITS)
    reader._consumer.commit(  # append without the adapter, as an external tool does
        offsets=[TopicPartition(topic, 0, 1, metadata="by hand")], asynchronous=False
    )
    with pytest.raises(StoreCorrupt, match="metadata 'by hand', not a log time"):
        reader.committed()


def test_largest_record_goes_through_and_a_larger_one_is_refused(parts: Parts) -> None:
    value = bytes(MAX_VALUE_BYTES)
    parts.append(0, value)
    assert [logged.record.value for logged in polled(parts.reader("a"), 1)] == [value]
    assert next(iter(parts.scan.read(parts.partition(), 0, 1))).record.value == value
    with pytest.raises(ValueError, match="the limit is"):
        parts.append(0, value + b"x")


def test_many_records_are_read_a_few_hits_at_a_time(parts: Parts) -> None:
    for number in range(1_200):
        parts.log.append(Topic.HITS, number % 4, a_record(str(number).encode()))
    parts.log.flush(20)
    reader = parts.reader("a")
    found: list[LoggedRecord] = []
    while len(found) < 1_200:
        more = reader.poll(7, 10.0)
        assert 0 < len(more) <= 7
        found += more
    for number in range(4):
        values = [int(logged.record.value) for logged in found if logged.position.partition == number]
        assert values == list(range(number, 1_200, 4))


@pytest.fixture
def full_log(parts: Parts) -> Iterator[KafkaEventLog]:
    """Return a log whose broker is unreachable and whose queue holds three records."""
    parts.catalogue.partitions(Topic.HITS)
    with closing(
        KafkaEventLog(replace(parts.servers, kafka="127.0.0.1:1"), parts.catalogue, max_queued_records=3)
    ) as log:
        yield log


def test_log_without_a_broker_is_full_at_once_and_fails_waiting_appends_on_close(full_log: KafkaEventLog) -> None:
    waiting = [full_log.append(Topic.HITS, 0, a_record()) for _ in range(3)]
    with pytest.raises(LogFull, match="the limits are") as refusal:
        full_log.append(Topic.HITS, 0, a_record())
    assert refusal.value.retry_after_s > 0
    with pytest.raises(RetryError, match="3 records still wait"):
        full_log.flush(0.05)
    full_log.close()
    for future in waiting:
        with pytest.raises(Unavailable):
            future.result(0)


def test_header_holds_everything_but_the_value(parts: Parts) -> None:
    ((name, header),) = header_of(a_record(b"secret"))
    assert name == HEADER
    assert isinstance(header, bytes)
    assert b"secret" not in header


def test_topic_that_is_made_anew_is_another_log(parts: Parts) -> None:
    before = parts.partition()
    remove_topics(parts.servers)
    apply(schema.plan(parts.servers, OPTIONS))
    with closing(Parts(parts.servers)) as again:
        assert again.partition() != before
        assert again.catalogue.topic_of(before.log) is Topic.HITS
