"""Test readers that share partitions: reassignment and fencing. No hit is counted twice."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import pytest

from hitmesh.adapters.kafka.log_reader import KafkaLogReader
from hitmesh.adapters.kafka.offsets import offset_of
from hitmesh.adapters.kafka.transactions import Message, TransactionalProducer
from hitmesh.model.errors import PartitionsMoved, Unavailable
from hitmesh.model.positions import Topic
from hitmesh.model.rows.rollup_rows import RowSource
from tests.real.kafka.parts import GROUP, Parts, ends_of, polled
from tests.support.waiting import eventually

ALL = {0, 1, 2, 3}
WAIT_S = 60.0


def numbers(reader: KafkaLogReader) -> set[int]:
    return {partition.partition for partition in reader.positions()}


def hears_of_a_move(reader: KafkaLogReader) -> bool:
    try:
        reader.poll(1_000, 0.1)
    except PartitionsMoved:
        return True
    return False


def has_joined(joining: Future[KafkaLogReader], beside: KafkaLogReader) -> bool:
    """Let the group member `beside` take part in the rebalance for which `joining` waits.

    Return whether `joining` has joined the group. Kafka may inform either member first.
    """
    hears_of_a_move(beside)
    return joining.done()


def await_move(reader: KafkaLogReader) -> None:
    eventually(lambda: hears_of_a_move(reader), "the reader hears that partitions moved", WAIT_S)


def test_reader_that_loses_partitions_commits_nothing_of_them_and_nothing_is_doubled(parts: Parts) -> None:
    for number in ALL:
        parts.append(number, b"1", b"2")
    reader, outbox = parts.reader("a"), parts.outbox("a")
    writer = outbox.take_over()
    assert numbers(reader) == ALL
    records = polled(reader, 8)
    rows = [parts.rows(number, hits=2) for number in ALL]
    membership = parts.members["a"].metadata(Topic.HITS, GROUP)
    with ThreadPoolExecutor() as pool:
        joining = pool.submit(parts.reader, "b")
        await_move(reader)  # the reader has read a window that is not committed
        with pytest.raises(PartitionsMoved):
            outbox.transaction(writer, rows, ends_of(records))
        with pytest.raises(PartitionsMoved):
            reader.commit(ends_of(records))
        # The Kafka client of this reader joins the group again by itself, without further calls of the reader.
        eventually(lambda: has_joined(joining, beside=reader), "the other reader has partitions", WAIT_S)
        other = joining.result()
    with pytest.raises(PartitionsMoved):
        outbox.transaction(writer, rows, ends_of(records))
    # Kafka itself refuses an offset commit under the previous membership.
    late = TransactionalProducer(parts.servers, f"{parts.servers.name}-late")
    offsets = [offset_of(parts.servers.topic(Topic.HITS), *end) for end in ends_of(records).items()]
    message = Message(parts.servers.rollups(RowSource.TRAFFIC), 0, b'{"hits":1000}')
    with pytest.raises(PartitionsMoved, match="ILLEGAL_GENERATION"):
        late.send([message], [(offsets, membership)])
    reader.close()
    again = parts.reader("a")
    assert numbers(again) | numbers(other) == ALL
    assert not numbers(again) & numbers(other)
    assert parts.hits() == 0
    for node, node_reader in (("a", again), ("b", other)):
        owner = outbox if node == "a" else parts.outbox("b")
        number = writer if node == "a" else owner.take_over()
        found = polled(node_reader, 2 * len(numbers(node_reader)))
        owner.transaction(number, [parts.rows(partition, hits=2) for partition in numbers(node_reader)], ends_of(found))
    assert parts.hits() == 8
    assert {done.next_offset for partition, done in outbox.committed().items() if partition.log.startswith("hits")} == {
        2
    }


def test_writer_that_was_silent_while_another_committed_its_window_writes_nothing(parts: Parts) -> None:
    for number in ALL:
        parts.append(number, b"1", b"2")
    silent, outbox = parts.reader("a", max_silence_s=15.0), parts.outbox("a")
    writer = outbox.take_over()
    window = polled(silent, 8)
    rows = [parts.rows(number, hits=2) for number in ALL]
    other = parts.reader("b", max_silence_s=15.0)  # the group waits for the silent member until its time-out

    def has_all() -> bool:
        with suppress(PartitionsMoved):
            other.heartbeat()
        return numbers(other) == ALL

    eventually(has_all, "the other reader has every partition", WAIT_S)
    successor = parts.outbox("b")
    successor.transaction(successor.take_over(), rows, ends_of(polled(other, 8)))
    assert parts.hits() == 8
    for _ in range(2):  # the second attempt must be refused like the first
        with pytest.raises(PartitionsMoved):
            outbox.transaction(writer, rows, ends_of(window))
    parts.append(0, b"3")
    ahead = {**ends_of(window), **ends_of(polled(other, 1))}
    with pytest.raises(PartitionsMoved):
        outbox.transaction(writer, rows, ahead)
    with pytest.raises(PartitionsMoved):  # Kafka checks the membership together with the offset
        outbox.transaction(writer, rows[:1], {parts.partition(0): ahead[parts.partition(0)]})
    assert parts.hits() == 8


def test_member_that_comes_back_under_its_name_has_its_partitions_and_moves_no_others(parts: Parts) -> None:
    first = parts.reader("a")
    with ThreadPoolExecutor() as pool:
        joining = pool.submit(parts.reader, "b")
        await_move(first)
        first.close()
        reopened, other = parts.reader("a"), joining.result(WAIT_S)
    had = numbers(reopened)
    reopened.close()
    back = parts.reader("a")
    assert numbers(back) == had
    parts.append(min(numbers(other)), b"goes on")
    assert [logged.record.value for logged in polled(other, 1)] == [b"goes on"]


def test_reader_whose_name_another_took_is_fenced(parts: Parts) -> None:
    first = parts.reader("a")
    second = parts.reader("a")
    assert numbers(second) == ALL

    def is_fenced() -> bool:
        try:
            first.poll(10, 0.1)
        except Unavailable:
            return True
        return False

    eventually(is_fenced, "the first reader hears that another has its name", WAIT_S)
    parts.append(0, b"x")
    assert len(polled(second, 1)) == 1


def test_reader_without_partitions_waits_for_some(parts: Parts) -> None:
    first = parts.reader("a", Topic.REJECTED)
    with ThreadPoolExecutor() as pool:
        joining = pool.submit(parts.reader, "b", Topic.REJECTED)
        await_move(first)
        first.close()
        readers = [parts.reader("a", Topic.REJECTED), joining.result(WAIT_S)]
    assert sorted(len(reader.positions()) for reader in readers) == [0, 1]
    idle = next(reader for reader in readers if not reader.positions())
    assert (idle.poll(10, 0.05), idle.committed()) == ([], {})


def test_reader_that_sends_heartbeats_keeps_its_partitions_and_a_silent_reader_loses_them(parts: Parts) -> None:
    """Rebuilding a state with tens of millions of hits takes minutes, in which the reader polls nothing."""
    parts.append(0, b"1", b"2", b"3")
    living = parts.reader("a", group="living", max_silence_s=15.0)
    silent = parts.reader("b", group="silent", max_silence_s=15.0)

    def is_out() -> bool:
        living.heartbeat()
        try:
            silent.heartbeat()
        except (PartitionsMoved, Unavailable):
            return True
        return False

    def outlasts_the_silence() -> bool:
        living.heartbeat()
        return time.monotonic() - began_s > 2 * silence_s

    began_s, silence_s = time.monotonic(), 15.0
    eventually(outlasts_the_silence, "twice the time is over in which a reader must say something", WAIT_S)
    eventually(is_out, "the one that said nothing lost its place", WAIT_S)
    assert numbers(living) == ALL
    assert [logged.record.value for logged in polled(living, 3)] == [b"1", b"2", b"3"]


def test_partitions_get_another_reader_only_when_they_are_handed_over(parts: Parts) -> None:
    parts.append(0, b"1")
    reader, released, events = parts.reader("a"), threading.Event(), list[str]()

    def hand_over() -> None:
        events.append("began")
        assert released.wait(WAIT_S)
        events.append("ended")

    reader.before_moves(hand_over)
    with ThreadPoolExecutor() as pool:
        joining = pool.submit(parts.reader, "b")
        polling = pool.submit(await_move, reader)
        eventually(lambda: events == ["began"], "the reader hands its partitions over", WAIT_S)
        assert not joining.done()
        released.set()
        polling.result()
        eventually(lambda: has_joined(joining, beside=reader), "the other reader has partitions", WAIT_S)
    assert events[:2] == ["began", "ended"]
    assert numbers(joining.result())
