"""Convert positions to offsets that Kafka commits, with the log time as metadata, and read committed positions."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from hitmesh.adapters.kafka.errors import error_of, unavailable
from hitmesh.model.errors import StoreCorrupt
from hitmesh.model.positions import PartitionId, PartitionProgress

_CALL_S: Final = 5.0
# `_DEADLINE_S` exceeds TRANSACTION_MS, after which Kafka aborts a transaction. Another member's pending transaction has
# therefore ended before the deadline.
_DEADLINE_S: Final = 45.0
_PAUSE_S: Final = 0.1
_RETRYABLE: Final = frozenset(
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
    """Return a position as an offset that Kafka can commit, with the log time as metadata."""
    return TopicPartition(topic, partition.partition, done.next_offset, metadata=str(done.log_time))


def is_newer(done: PartitionProgress, there: PartitionProgress) -> bool:
    """Return whether `done` has a greater offset than `there`, or the same offset and a later log time."""
    return (done.next_offset, done.log_time) > (there.next_offset, there.log_time)


def committed_by(
    consumer: Consumer, topic: str, partitions: Sequence[PartitionId]
) -> Mapping[PartitionId, PartitionProgress]:
    """Return the consumer group's committed positions for partitions of a topic; (0, 0) without a commit.

    The call retries after a time-out, because Kafka returns no position while another member's transaction is pending.

    Raises:
        Unavailable: no answer before the deadline.
    """
    questions = [TopicPartition(topic, partition.partition) for partition in partitions]
    deadline = time.monotonic() + _DEADLINE_S
    while questions:
        answers, problem = _answers_of(consumer, questions)
        if problem is None:
            return {partition: _progress(topic, answer) for partition, answer in zip(partitions, answers, strict=True)}
        if problem.code() not in _RETRYABLE or time.monotonic() > deadline:
            raise unavailable(problem, f"look-up of the positions of {topic}")
        time.sleep(_PAUSE_S)  # some errors arrive at once, so without a pause the loop would spin
    return {}


def _answers_of(consumer: Consumer, questions: list[TopicPartition]) -> tuple[list[TopicPartition], KafkaError | None]:
    try:
        answers: list[TopicPartition] = consumer.committed(questions, timeout=_CALL_S)
    except KafkaException as error:
        return [], error_of(error)
    return answers, next((answer.error for answer in answers if answer.error is not None), None)


def _progress(topic: str, answer: TopicPartition) -> PartitionProgress:
    if answer.offset < 0:
        return PartitionProgress(0, 0)
    metadata = answer.metadata or "0"  # metadata is empty if a command-line tool committed the offset
    if not metadata.isascii() or not metadata.isdigit():
        raise StoreCorrupt(
            f"{topic}/{answer.partition} is committed at {answer.offset} with metadata {metadata[:64]!r}, not a "
            f"log time in UTC ms; commit the position again without metadata",
            topic=str(topic),
            partition=str(answer.partition),
            position=answer.offset,
        )
    return PartitionProgress(answer.offset, int(metadata))
