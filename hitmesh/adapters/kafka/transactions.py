"""Send transactions to Kafka, and recover the producer after errors (architecture A6, docs/exactly-once.md point 8).

The class of the client's error decides how a failed transaction ends. If the error says that an abort is required, the
transaction is aborted. After a time-out or any other error, the producer is discarded. A discarded producer cannot end
the transaction, because the client has no KIP-890 support. The next producer with the same id fences the discarded
producer and ends the transaction. Kafka completes a commit or abort that was in progress, and aborts any other open
transaction. This module adds a deadline to calls that wait for a coordinator, because some calls wait forever if the
coordinator dies.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from hitmesh.adapters.kafka.bounded_calls import BoundedCalls, CallHangs
from hitmesh.adapters.kafka.connection import CertificateWatch, connection, new_client
from hitmesh.adapters.kafka.errors import error_of, of_transaction, unavailable
from hitmesh.adapters.servers import Servers
from hitmesh.model.errors import CommitInDoubt, Fenced, HitmeshError, Unavailable
from hitmesh.runtime.logs import logger

# A reader waits up to `_DEADLINE_S` (hitmesh.adapters.kafka.offsets) until a pending transaction ends, so
# TRANSACTION_MS must be shorter.
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
"""For each consumer group: the positions to commit, and the membership in the group that permits the commit."""


class TransactionalProducer:
    """A producer with a fixed transactional id.

    The producer is recreated whenever its state is in doubt. The object must be used by one thread only.

    Args:
        servers: addresses of Kafka.
        transactional_id: identity of the writer; a later producer with the same id fences earlier producers.
    """

    def __init__(self, servers: Servers, transactional_id: str) -> None:
        self._servers = servers
        self.transactional_id = transactional_id
        self._producer: Producer | None = None
        self._calls: BoundedCalls | None = None
        self._has_sent = False
        self._certificates = CertificateWatch(servers)

    @property
    def is_unused(self) -> bool:
        """Return whether a producer exists, has sent nothing yet, and uses the current certificate."""
        return self._producer is not None and not self._has_sent and not self.is_outdated

    @property
    def is_outdated(self) -> bool:
        """Return whether the certificate of this process has been replaced since the producer was made."""
        return self._certificates.has_changed()

    @property
    def is_ready(self) -> bool:
        """Return whether a producer exists and no transaction is pending."""
        return self._producer is not None

    def begin_anew(self) -> None:
        """Fence every earlier producer with this id, and block until their transactions have ended.

        Raises:
            Unavailable: Kafka does not answer.
        """
        self.discard()
        self._certificates.note()
        producer = new_client(
            Producer,
            {
                **connection(self._servers),
                "transactional.id": self.transactional_id,
                "transaction.timeout.ms": TRANSACTION_MS,
                "acks": "all",
                # With zstd instead of lz4, rows would take a third less space, but compression would take four times as
                # long.
                "compression.type": "lz4",
                "linger.ms": 2,
                "batch.size": 1 << 20,
                "message.max.bytes": 8 << 20,
                "queue.buffering.max.kbytes": 256 << 10,
            },
        )
        calls = BoundedCalls("kafka-transactions")
        deadline = time.monotonic() + _INIT_S
        while True:
            try:
                calls.call(_HANGS_AFTER_S, producer.init_transactions, _INIT_TRY_S)
                self._producer, self._calls, self._has_sent = producer, calls, False
                return
            except CallHangs as error:
                raise Unavailable(
                    f"the takeover of {self.transactional_id} failed in Kafka: {error}; try again",
                    writer=self.transactional_id,
                    cause=str(error),
                ) from error
            except KafkaException as error:
                # The call is retried while a restarted coordinator loads its log, and while the previous transaction is
                # still ending.
                if not error_of(error).retriable() or time.monotonic() > deadline:
                    calls.end()
                    raise unavailable(error, f"takeover of {self.transactional_id}") from error

    def send(self, messages: Iterable[Message], offsets: Offsets = ()) -> None:
        """Send messages and positions, all or nothing.

        Raises:
            Fenced: a later producer with this id took over; nothing was written.
            PartitionsMoved, Unavailable: nothing was written.
            CommitInDoubt: the outcome is unknown.
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
            logger().warning("transaction_timed_out", message=str(error))
            raise CommitInDoubt(
                f"the outcome of the transaction of {self.transactional_id} in Kafka is unknown: {error}",
                retry_after_s=0,
                writer=self.transactional_id,
                cause=str(error),
            ) from error
        except KafkaException as error:
            raise self._given_up(producer, error_of(error)) from error
        except BaseException:
            self._abort(producer)
            raise

    def discard(self) -> None:
        """Discard the producer; the next producer ends any transaction that is still open."""
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
        # Kafka should refuse to commit a transaction with a lost message. The check of `failed` makes sure that a
        # transaction with a lost message is never reported as committed.
        if failed:
            raise KafkaException(failed[0])

    def _produce(self, producer: Producer, message: Message, delivered: Callable[..., None]) -> None:
        while True:
            try:
                producer.produce(message.topic, message.value, partition=message.partition, on_delivery=delivered)
                return
            except BufferError:
                producer.poll(_SERVE_S)

    def _given_up(self, producer: Producer, error: KafkaError) -> HitmeshError:
        """Abort the transaction or discard the producer, then return the error to raise."""
        failure = of_transaction(error, f"transaction of {self.transactional_id}")
        if isinstance(failure, CommitInDoubt | Fenced) or not error.txn_requires_abort():
            self.discard()
        else:
            self._abort(producer)
        logger().warning("transaction_failed", error=error.name(), raised=type(failure).__name__)
        return failure

    def _abort(self, producer: Producer) -> None:
        try:
            self._call(producer.abort_transaction, _CALL_S)
        except (KafkaException, CallHangs):
            self.discard()
