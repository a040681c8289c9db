"""Positions of a group in Kafka: the offset, and the log time up to which everything is applied as its metadata."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from hitmesh.adapters.kafka.errors import error_of, unavailable
from hitmesh.model.errors import StoreCorrupt
from hitmesh.model.positions import PartitionId, PartitionProgress

_CALL_S: Final = 5.0
# A transaction that another member left pending ends by itself after its own time-out.
_DEADLINE_S: Final = 45.0
_PAUSE_S: Final = 0.1
_ASK_AGAIN: Final = frozenset(
    {
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._WAIT_COORD,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
    }
)


def offset_of(topic: str, partition: PartitionId, done: PartitionProgress) -> TopicPartition:
    """Returns a position as it is committed."""
    return TopicPartition(topic, partition.partition, done.next_offset, metadata=str(done.log_time))


def committed_by(
    consumer: Consumer, topic: str, partitions: Sequence[PartitionId]
) -> Mapping[PartitionId, PartitionProgress]:
    """Returns what the consumer's group committed of partitions of one topic; (0, 0) without a commit.

    A time-out is asked again: while a transaction of another member is pending, Kafka does not say.

    Raises:
        Unavailable: it did not answer for long.
    """
    asked = [TopicPartition(topic, one.partition) for one in partitions]
    deadline = time.monotonic() + _DEADLINE_S
    while asked:
        answers, problem = _ask(consumer, asked)
        if problem is None:
            return {one: _progress(topic, answer) for one, answer in zip(partitions, answers, strict=True)}
        if problem.code() not in _ASK_AGAIN or time.monotonic() > deadline:
            raise unavailable(problem, f"positions of {topic}")
        time.sleep(_PAUSE_S)  # some of these come back at once
    return {}


def _ask(consumer: Consumer, asked: list[TopicPartition]) -> tuple[list[TopicPartition], KafkaError | None]:
    try:
        answers: list[TopicPartition] = consumer.committed(asked, timeout=_CALL_S)
    except KafkaException as error:
        return [], error_of(error)
    return answers, next((answer.error for answer in answers if answer.error is not None), None)


def _progress(topic: str, answer: TopicPartition) -> PartitionProgress:
    if answer.offset < 0:
        return PartitionProgress(0, 0)
    said = answer.metadata or "0"  # tools that set positions say nothing
    if not said.isascii() or not said.isdigit():
        raise StoreCorrupt(
            f"{topic}/{answer.partition} is committed at {answer.offset} with metadata {said!r}; the rule is a "
            f"log time in UTC ms; set the position anew without metadata"
        )
    return PartitionProgress(answer.offset, int(said))
