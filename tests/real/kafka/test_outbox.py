"""Test Kafka transactions: visibility, fencing and the right to write (decision A6)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, Producer

from hitmesh.adapters.kafka.log_reader import group_id
from hitmesh.adapters.kafka.offsets import offset_of
from hitmesh.adapters.kafka.transactions import Message, TransactionalProducer
from hitmesh.model.errors import CommitInDoubt, Fenced
from hitmesh.model.positions import PartitionProgress, Topic
from hitmesh.model.rows.rollup_rows import RowSource
from tests.real.kafka.parts import GROUP, Parts
from tests.support.opened import NOON

DONE = PartitionProgress(7, NOON)
FRAMES = 30
"""Number of frames of rows per partition in a large transaction."""


def test_rows_of_a_partition_go_before_its_mark_into_one_partition_of_each_topic(parts: Parts) -> None:
    outbox = parts.outbox("a")
    positions = {parts.partition(number): DONE for number in (0, 1, 3)}
    outbox.transaction(outbox.take_over(), [parts.rows(3, hits=5), parts.rows(0, hits=2)], positions)
    traffic, visits = parts.lines(RowSource.TRAFFIC), parts.lines(RowSource.VISITS)
    assert [line.get("hits") for line in traffic[0]] == [2, None]
    assert [line.get("hits") for line in traffic[1]] == [5, None, None]
    marked = {partition: {line["mark"] for line in traffic[partition] if "mark" in line} for partition in (0, 1)}
    log = parts.partition().log
    assert marked == {0: {f"{log}/0"}, 1: {f"{log}/1", f"{log}/3"}}
    assert [{line["mark"] for line in partition_lines} for partition_lines in visits] == [marked[0], marked[1]]


def test_unfinished_transaction_is_invisible_to_readers_of_committed_data(parts: Parts) -> None:
    servers, topic = parts.servers, parts.servers.topic(Topic.HITS)
    doomed = Producer({"bootstrap.servers": servers.kafka, "transactional.id": f"{servers.name}-{GROUP}-a"})
    doomed.init_transactions(10)
    doomed.begin_transaction()
    doomed.produce(servers.rollups(RowSource.TRAFFIC), b'{"hits":1}', partition=0)
    assert doomed.flush(10) == 0
    stranger = Consumer({"bootstrap.servers": servers.kafka, "group.id": group_id(servers, GROUP, Topic.HITS)})
    offset = offset_of(topic, parts.partition(), DONE)
    doomed.send_offsets_to_transaction([offset], stranger.consumer_group_metadata(), 10)
    outbox = parts.outbox("a")
    writer = outbox.take_over()
    assert outbox.committed()[parts.partition()] == PartitionProgress(0, 0)
    assert parts.lines(RowSource.TRAFFIC) == [[], []]
    assert parts.lines(RowSource.TRAFFIC, committed=False)[0] == [{"hits": 1}]
    outbox.transaction(writer, [parts.rows(hits=3)], {parts.partition(): DONE})
    assert (parts.hits(), outbox.committed()[parts.partition()]) == (3, DONE)
    stranger.close()


def test_transaction_that_fails_half_way_is_undone_and_the_next_one_goes_through(parts: Parts) -> None:
    topic = parts.servers.rollups(RowSource.TRAFFIC)
    producer = TransactionalProducer(parts.servers, f"{parts.servers.name}-x")

    def broken() -> Iterator[Message]:
        yield Message(topic, 0, b'{"hits":1}')
        raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        producer.send(broken())
    producer.send([Message(topic, 0, b'{"hits":2}')])
    assert parts.hits() == 2


def test_writer_whose_place_another_took_writes_nothing(parts: Parts) -> None:
    old, new = parts.outbox("a"), parts.outbox("a")
    zombie = old.take_over()
    old.transaction(zombie, [parts.rows(hits=1)], {parts.partition(): DONE})
    writer = new.take_over()
    for _ in range(2):
        with pytest.raises(Fenced):
            old.transaction(zombie, [parts.rows(hits=10)], {parts.partition(): PartitionProgress(9, NOON)})
    new.transaction(writer, [parts.rows(hits=100)], {parts.partition(): PartitionProgress(8, NOON)})
    assert (parts.hits(), new.committed()[parts.partition()].next_offset) == (101, 8)


def test_writer_of_another_node_is_left_alone(parts: Parts) -> None:
    outbox, other = parts.outbox("a"), parts.outbox("b")
    first, second = outbox.take_over(), other.take_over()
    assert second > first
    outbox.transaction(first, [parts.rows(0, hits=1)], {parts.partition(0): DONE})
    other.transaction(second, [parts.rows(1, hits=10)], {parts.partition(1): DONE})
    assert parts.hits() == 11


def test_writer_that_kafka_itself_ended_is_in_doubt_and_goes_on(parts: Parts) -> None:
    outbox = parts.outbox("a")
    writer = outbox.take_over()
    # Simulate a transaction that took too long. Kafka increments the epoch of the producer, although no other writer
    # exists.
    TransactionalProducer(parts.servers, f"{parts.servers.name}-{GROUP}-a").begin_anew()
    with pytest.raises(CommitInDoubt, match="no writer is newer"):
        outbox.transaction(writer, [parts.rows(hits=1)], {parts.partition(): DONE})
    outbox.resolve(writer)
    assert outbox.committed()[parts.partition()] == PartitionProgress(0, 0)
    outbox.transaction(writer, [parts.rows(hits=2)], {parts.partition(): DONE})
    assert parts.hits() == 2


def test_large_transaction_is_whole(parts: Parts) -> None:
    outbox = parts.outbox("a")
    writer = outbox.take_over()
    for number in range(1, 3):
        rows = [parts.rows(partition, hits=1) for partition in range(4) for _ in range(FRAMES)]
        done = {parts.partition(partition): PartitionProgress(number, NOON) for partition in range(4)}
        outbox.transaction(writer, rows, done)
    assert parts.hits() == 2 * 4 * FRAMES
