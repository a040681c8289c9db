"""One transactional producer, and what becomes of it when something goes wrong (decision A6, costs.md).

Decides by the client's own classes of errors: what can be aborted is aborted; after a time-out, and after anything
else, the producer is thrown away, since the client cannot end the transaction any more (it lacks KIP-890): the next one
of the same id ends it, by commit or abort, whichever was under way, and fences this one. Calls that wait for a
coordinator are bound by a clock of ours too: some wait for good for one that died in the middle.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from hitmesh.adapters.kafka.bounded_calls import BoundedCalls, CallHangs
from hitmesh.adapters.kafka.errors import error_of, of_transaction, unavailable
from hitmesh.adapters.servers import Servers
from hitmesh.model.errors import CommitInDoubt, Fenced, HitmeshError, Unavailable
from hitmesh.runtime.logs import logger

# Shorter than any waiting for a pending transaction's end: see hitmesh.adapters.kafka.offsets.
TRANSACTION_MS: Final = 30_000
_INIT_S: Final = 30.0
_INIT_TRY_S: Final = 10.0
_CALL_S: Final = 15.0
_HANGS_AFTER_S: Final = 20.0
_SERVE_S: Final = 0.05


class Message:
    """A message to send: topic, partition, value."""

    __slots__ = ("partition", "topic", "value")

    def __init__(self, topic: str, partition: int, value: bytes) -> None:
        self.topic = topic
        self.partition = partition
        self.value = value


Offsets = Sequence[tuple[Sequence[TopicPartition], Any]]
"""Positions and the membership that proves that they may be committed, per group."""


class TransactionalProducer:
    """A producer under one transactional id, made anew after any doubt. Confined to one thread.

    Args:
        servers: where Kafka is.
        transactional_id: who writes; a later producer of the same id fences the earlier ones.
    """

    def __init__(self, servers: Servers, transactional_id: str) -> None:
        self._servers = servers
        self.transactional_id = transactional_id
        self._producer: Producer | None = None
        self._calls: BoundedCalls | None = None
        self._has_sent = False

    @property
    def is_unused(self) -> bool:
        """Whether there is a producer that sent nothing yet."""
        return self._producer is not None and not self._has_sent

    @property
    def is_ready(self) -> bool:
        """Whether nothing is pending, and no new producer is needed."""
        return self._producer is not None

    def begin_anew(self) -> None:
        """Fences every earlier producer of this id, and returns once nothing that they began is pending.

        Raises:
            Unavailable: Kafka does not answer.
        """
        self.discard()
        producer = Producer(
            {
                "bootstrap.servers": self._servers.kafka,
                "transactional.id": self.transactional_id,
                "transaction.timeout.ms": TRANSACTION_MS,
                "acks": "all",
                # Of rows: zstd makes two thirds of it, at four times the time.
                "compression.type": "lz4",
                "linger.ms": 2,
                "batch.size": 1 << 20,
                "message.max.bytes": 8 << 20,
                "queue.buffering.max.kbytes": 256 << 10,
                "log_level": 3,
            }
        )
        calls = BoundedCalls("kafka-transactions")
        deadline = time.monotonic() + _INIT_S
        while True:
            try:
                calls.call(_HANGS_AFTER_S, producer.init_transactions, _INIT_TRY_S)
                self._producer, self._calls, self._has_sent = producer, calls, False
                return
            except CallHangs as error:
                raise Unavailable(f"Kafka, take over of {self.transactional_id}: {error}") from error
            except KafkaException as error:
                # After a start the coordinator loads its log; meanwhile the previous transaction may still be ending.
                if not error_of(error).retriable() or time.monotonic() > deadline:
                    calls.end()
                    raise unavailable(error, f"take over of {self.transactional_id}") from error

    def send(self, messages: Iterable[Message], offsets: Offsets = ()) -> None:
        """Sends messages and positions, all or nothing.

        Raises:
            Fenced: a later producer of this id took over; nothing was written.
            PartitionsMoved, Unavailable: nothing was written.
            CommitInDoubt: whether it was written is not known.
        """
        if self._producer is None:
            self.begin_anew()
        producer = self._producer
        assert producer is not None
        self._has_sent = True
        try:
            self._attempt(producer, messages, offsets)
        except CallHangs as error:
            self.discard()
            logger().warning("transaction_hangs", message=str(error))
            raise CommitInDoubt(f"Kafka, transaction of {self.transactional_id}: {error}", retry_after_s=0) from error
        except KafkaException as error:
            raise self._given_up(producer, error_of(error)) from error
        except BaseException:
            self._abort(producer)
            raise

    def discard(self) -> None:
        """Lets go of the producer; what it began and did not end, the next one ends."""
        calls, self._producer, self._calls = self._calls, None, None
        if calls is not None:
            calls.end()

    def _call(self, function: Callable[..., object], *arguments: object) -> None:
        assert self._calls is not None
        self._calls.call(_HANGS_AFTER_S, function, *arguments)

    def _attempt(self, producer: Producer, messages: Iterable[Message], offsets: Offsets) -> None:
        failed: list[KafkaError] = []

        def delivered(error: KafkaError | None, _: object) -> None:
            if error is not None:
                failed.append(error)

        self._call(producer.begin_transaction)
        for message in messages:
            self._produce(producer, message, delivered)
        for positions, membership in offsets:
            self._call(producer.send_offsets_to_transaction, list(positions), membership, _CALL_S)
        self._call(producer.commit_transaction, _CALL_S)
        if failed:  # the client aborts in this case; should it not, nobody may believe that it committed
            raise KafkaException(failed[0])

    def _produce(self, producer: Producer, message: Message, delivered: Callable[..., None]) -> None:
        while True:
            try:
                producer.produce(message.topic, message.value, partition=message.partition, on_delivery=delivered)
                return
            except BufferError:
                producer.poll(_SERVE_S)

    def _given_up(self, producer: Producer, error: KafkaError) -> HitmeshError:
        """Returns what is to be told after an error, the transaction aborted or the producer thrown away."""
        told = of_transaction(error, f"transaction of {self.transactional_id}")
        if isinstance(told, CommitInDoubt | Fenced) or not error.txn_requires_abort():
            self.discard()
        else:
            self._abort(producer)
        logger().warning("transaction_given_up", error=error.name(), told=type(told).__name__)
        return told

    def _abort(self, producer: Producer) -> None:
        try:
            self._call(producer.abort_transaction, _CALL_S)
        except (KafkaException, CallHangs):
            self.discard()


def by_topic(values: Mapping[str, Sequence[tuple[int, bytes]]]) -> list[Message]:
    """Returns messages of (partition, value) by topic."""
    return [Message(topic, partition, value) for topic, own in values.items() for partition, value in own]
