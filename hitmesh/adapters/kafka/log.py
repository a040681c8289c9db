"""Step 3 of the journey on Kafka: records appended to topics, acknowledged by every replica that has to.

Decides when a record is durable (acks=all, answered by the delivery report) and how much may wait for that. We choose
the partition, never the client library (decision A4). Refuses to know what a record holds.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future, wait
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from hitmesh.adapters.kafka.catalogue import Catalogue
from hitmesh.adapters.kafka.errors import error_of, unavailable
from hitmesh.adapters.kafka.records import header_of, place_of
from hitmesh.adapters.servers import Servers
from hitmesh.adapters.shared.log_time import log_time_of
from hitmesh.model.errors import LogFull, RetryError, Unavailable
from hitmesh.model.positions import LoggedPosition, PartitionId, Position, Topic
from hitmesh.model.records import Record
from hitmesh.runtime.logs import logger, traceback_of

MAX_QUEUED_BYTES: Final = 64 << 20
MAX_QUEUED_RECORDS: Final = 20_000
MAX_VALUE_BYTES: Final = 8 << 20
# A message that is given up leaves a gap of what was acknowledged behind it: it is held as long as anybody may wait.
DELIVERY_MS: Final = 24 * 3_600_000
_FULL_RETRY_S: Final = 0.25
_POLL_S: Final = 0.1
_CLOSE_S: Final = 10.0


class KafkaEventLog:
    """An EventLog in Kafka topics. Thread-safe; connects when it is first appended to.

    The log time that an append tells is bound by what this process appended before; readers apply the running maximum
    over all writers (rule L1), so theirs may be later.

    Args:
        servers: where Kafka is, and what topics are called.
        catalogue: which log each topic is.
        max_queued_bytes: bytes of values that may wait for their acknowledgement; more is LogFull.
        max_queued_records: records that may wait; more is LogFull.
    """

    def __init__(
        self,
        servers: Servers,
        catalogue: Catalogue,
        *,
        max_queued_bytes: int = MAX_QUEUED_BYTES,
        max_queued_records: int = MAX_QUEUED_RECORDS,
    ) -> None:
        self._servers = servers
        self._catalogue = catalogue
        self._max_queued_bytes = max_queued_bytes
        self._max_queued_records = max_queued_records
        self._lock = threading.Lock()
        self._producer: Producer | None = None
        self._poller: threading.Thread | None = None
        self._waiting: set[Future[LoggedPosition]] = set()
        self._queued_bytes = 0
        self._last: dict[PartitionId, int] = {}
        self._closed = False

    def partitions(self, topic: Topic) -> int:
        """Returns how many partitions the topic has."""
        return self._catalogue.partitions(topic)

    def log_id(self, topic: Topic) -> str:
        """Returns which log the topic is."""
        return self._catalogue.log_id(topic)

    def append(self, topic: Topic, partition: int, record: Record) -> Future[LoggedPosition]:
        """Sends a record; the future resolves when all replicas that have to have it.

        Raises:
            LogFull: too much waits already.
            ValueError: no such partition, or a value beyond 8 MiB.
        """
        if not 0 <= partition < self.partitions(topic):
            raise ValueError(f"{topic} has no partition {partition}")
        size = len(record.value)
        if size > MAX_VALUE_BYTES:
            raise ValueError(f"a value of {size} bytes; the rule is at most {MAX_VALUE_BYTES}")
        future: Future[LoggedPosition] = Future()
        future.set_running_or_notify_cancel()  # what is sent cannot be taken back
        with self._lock:
            if self._closed:
                raise Unavailable("the log is closed")
            self._refuse_when_full(size)
            # Inside the lock: two appends to a partition are sent in the order in which they were taken.
            self._send(topic, partition, record, future)
            self._waiting.add(future)
            self._queued_bytes += size
        return future

    def flush(self, timeout_s: float) -> None:
        """Waits until every append so far is resolved.

        Raises:
            RetryError: that took longer than `timeout_s`.
        """
        with self._lock:
            waiting = list(self._waiting)
        left = len(wait(waiting, timeout_s).not_done)
        if left:
            raise RetryError(f"{left} records still wait for Kafka after {timeout_s} s")

    def close(self) -> None:
        """Waits for what was sent, for a while, and lets go. A second call changes nothing."""
        with self._lock:
            self._closed = True
            waiting = list(self._waiting)
        wait(waiting, _CLOSE_S)
        with self._lock:
            self._give_up()
        if self._poller is not None:
            self._poller.join()

    def _send(self, topic: Topic, partition: int, record: Record, future: Future[LoggedPosition]) -> None:
        try:
            self._sending().produce(
                self._servers.topic(topic),
                record.value,
                partition=partition,
                headers=header_of(record),
                on_delivery=lambda error, message: self._delivered(future, topic, record, error, message),
            )
        except BufferError as error:
            raise LogFull("Kafka's client has no room", retry_after_s=_FULL_RETRY_S) from error
        except KafkaException as error:
            if error_of(error).fatal():
                self._give_up()  # it takes nothing any more: the next append has a new one
            raise unavailable(error, f"append to {topic}") from error

    def _give_up(self) -> None:
        """Lets go of the producer. What was not acknowledged is refused, so that whoever waits hears of it."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()

    def _refuse_when_full(self, size: int) -> None:
        if len(self._waiting) >= self._max_queued_records or (
            self._waiting and self._queued_bytes + size > self._max_queued_bytes
        ):
            raise LogFull(
                f"{len(self._waiting)} records of {self._queued_bytes} bytes wait to be acknowledged; "
                f"the rule is at most {self._max_queued_records} and {self._max_queued_bytes}",
                retry_after_s=_FULL_RETRY_S,
            )

    def _sending(self) -> Producer:
        if self._producer is None:
            self._producer = Producer(
                {
                    "bootstrap.servers": self._servers.kafka,
                    "client.id": f"{self._servers.name}-log",
                    "enable.idempotence": True,
                    "acks": "all",
                    "compression.type": "zstd",
                    "linger.ms": 2,  # the collector has batched already
                    "delivery.timeout.ms": DELIVERY_MS,
                    "message.max.bytes": MAX_VALUE_BYTES + (1 << 20),
                    "queue.buffering.max.kbytes": 2 * self._max_queued_bytes // 1024,
                    "log_level": 3,
                }
            )
            self._poller = threading.Thread(
                target=self._serve_reports, args=(self._producer,), name="kafka-reports", daemon=True
            )
            self._poller.start()
        return self._producer

    def _serve_reports(self, producer: Producer) -> None:
        """Calls back those who wait, until the producer was given up and nobody waits for it."""
        while self._producer is producer or len(producer):
            try:
                producer.poll(_POLL_S)
            except BaseException as error:  # of those who are told: the others must be told too
                logger().error("append_not_told", error=type(error).__name__, traceback=traceback_of(error))

    def _delivered(
        self,
        future: Future[LoggedPosition],
        topic: Topic,
        record: Record,
        error: KafkaError | None,
        message: Message,
    ) -> None:
        try:
            if error is not None:
                future.set_exception(unavailable(error, f"append to {topic}"))
            else:
                future.set_result(self._told(topic, record, message))
        finally:
            with self._lock:
                self._waiting.discard(future)
                self._queued_bytes -= len(record.value)

    def _told(self, topic: Topic, record: Record, message: Message) -> LoggedPosition:
        number, offset = place_of(message)
        partition = PartitionId(self.log_id(topic), number)
        _, appended = message.timestamp()
        self._last[partition] = log_time_of(record, appended, self._last.get(partition, 0))
        return LoggedPosition(Position(*partition, offset), self._last[partition])
