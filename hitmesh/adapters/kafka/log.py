"""Append records to Kafka topics; all in-sync replicas must acknowledge a record (step 3 of the journey).

A record is durable when its delivery report arrives without an error (acks=all). Only a limited number of records may
wait for delivery. The caller chooses the partition; the client library must not choose (architecture A4). This module
never decodes a record's value.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, wait
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from hitmesh.adapters.kafka.connection import SILENT_MS, CertificateWatch, connection, new_client
from hitmesh.adapters.kafka.errors import error_of, unavailable
from hitmesh.adapters.kafka.records import header_of, place_of
from hitmesh.adapters.servers import Servers
from hitmesh.adapters.shared.catalogue import Catalogue
from hitmesh.adapters.shared.log_time import log_time_of
from hitmesh.model.errors import LogFull, RetryError, Unavailable
from hitmesh.model.positions import LoggedPosition, PartitionId, Position, Topic
from hitmesh.model.records import Record
from hitmesh.runtime.logs import logger, traceback_of

MAX_QUEUED_BYTES: Final = 64 << 20
MAX_QUEUED_RECORDS: Final = 20_000
MAX_VALUE_BYTES: Final = 8 << 20
# If the client stopped retrying a message, later messages could still be acknowledged, and the log would have a gap.
# The client therefore retries each message for a full day.
DELIVERY_MS: Final = 24 * 3_600_000
_FULL_RETRY_S: Final = 0.25
_RENEWAL_RETRY_S: Final = 0.05
_POLL_S: Final = 0.1
_CLOSE_S: Final = 10.0


class KafkaEventLog:
    """Implements the port EventLog in Kafka topics. Thread-safe; connects at the first append.

    `append` computes a record's log time from the appends of this process only. A reader computes the running maximum
    over the appends of all processes (rule L1). A reader may therefore compute a later log time for the record.

    Args:
        servers: addresses of Kafka and topic names.
        catalogue: the current log of each topic.
        max_queued_bytes: maximum total size of values that wait for acknowledgement; beyond it, `append` raises
            LogFull.
        max_queued_records: maximum number of records that wait for acknowledgement; beyond it, `append` raises LogFull.
        renew_within_s: seconds for which records of a producer with a replaced certificate may still wait.
    """

    def __init__(
        self,
        servers: Servers,
        catalogue: Catalogue,
        *,
        max_queued_bytes: int = MAX_QUEUED_BYTES,
        max_queued_records: int = MAX_QUEUED_RECORDS,
        renew_within_s: float = 2 * SILENT_MS / 1_000,
    ) -> None:
        self._servers = servers
        self._catalogue = catalogue
        self._max_queued_bytes = max_queued_bytes
        self._max_queued_records = max_queued_records
        self._lock = threading.Lock()
        self._producer: Producer | None = None
        self._certificates = CertificateWatch(servers)
        self._renew_within_s = renew_within_s
        self._renewing_until: float | None = None
        self._poller: threading.Thread | None = None
        self._waiting: set[Future[LoggedPosition]] = set()
        self._queued_bytes = 0
        self._last: dict[PartitionId, int] = {}
        self._closed = False

    def partitions(self, topic: Topic) -> int:
        """Return the topic's number of partitions."""
        return self._catalogue.partitions(topic)

    def log_id(self, topic: Topic) -> str:
        """Return the id of the topic's log."""
        return self._catalogue.log_id(topic)

    def append(self, topic: Topic, partition: int, record: Record) -> Future[LoggedPosition]:
        """Send a record; the future resolves when all in-sync replicas have stored the record.

        Raises:
            LogFull: too many records or bytes already wait for acknowledgement.
            ValueError: no such partition, or a value above 8 MiB.
        """
        if not 0 <= partition < self.partitions(topic):
            raise ValueError(f"{topic} has no partition {partition}")
        size = len(record.value)
        if size > MAX_VALUE_BYTES:
            raise ValueError(f"the value has {size} bytes; the limit is {MAX_VALUE_BYTES}")
        future: Future[LoggedPosition] = Future()
        # no caller can cancel the future, because a sent record cannot be cancelled
        future.set_running_or_notify_cancel()
        with self._lock:
            if self._closed:
                raise Unavailable("the log is closed, because the process is stopping: try again")
            self._refuse_when_full(size)
            self._renew_certificates()
            # The record is sent inside the lock, so that appends to a partition are sent in the order of the calls.
            self._send(topic, partition, record, future)
            self._waiting.add(future)
            self._queued_bytes += size
        return future

    def flush(self, timeout_s: float) -> None:
        """Block until the futures of all appends so far are done.

        Raises:
            RetryError: some futures are not done after `timeout_s`.
        """
        with self._lock:
            waiting = list(self._waiting)
        left = len(wait(waiting, timeout_s).not_done)
        if left:
            raise RetryError(
                f"{left} records still wait for Kafka after {timeout_s} s", records=left, timeout_s=timeout_s
            )

    def close(self) -> None:
        """Wait up to 10 s for pending appends, then release the producer. A second call changes nothing."""
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
            raise LogFull(
                "the queue of the Kafka client is full: send the batch again", retry_after_s=_FULL_RETRY_S
            ) from error
        except KafkaException as error:
            if error_of(error).fatal():
                self._give_up()  # a fatal error makes the producer unusable; the next append creates a new producer
            raise unavailable(error, f"append to {topic}") from error

    def _give_up(self) -> None:
        """Discard the producer and its messages. The futures of unacknowledged appends then fail."""
        producer, self._producer, self._renewing_until = self._producer, None, None
        if producer is not None:
            producer.purge()

    def _refuse_when_full(self, size: int) -> None:
        if len(self._waiting) >= self._max_queued_records or (
            self._waiting and self._queued_bytes + size > self._max_queued_bytes
        ):
            raise LogFull(
                f"the log has no room for a record of {size} bytes: {len(self._waiting)} records of "
                f"{self._queued_bytes} bytes wait for acknowledgement, and the limits are {self._max_queued_records} "
                f"records and {self._max_queued_bytes} bytes; send the batch again",
                retry_after_s=_FULL_RETRY_S,
                records=len(self._waiting),
                size=size,
                queued=self._queued_bytes,
                max_records=self._max_queued_records,
                limit=self._max_queued_bytes,
            )

    def _renew_certificates(self) -> None:
        """Discard a producer whose certificate was replaced, once its records are stored.

        The records of two producers could change places. While records of the old producer wait, appends fail. After
        `renew_within_s`, the waiting records fail too, because Kafka may no longer admit the old certificate.
        """
        if self._producer is None or not self._certificates.has_changed():
            return
        if self._renewing_until is None:
            self._renewing_until = time.monotonic() + self._renew_within_s
        if self._waiting and time.monotonic() < self._renewing_until:
            raise LogFull("the log changes to a new certificate: send the batch again", retry_after_s=_RENEWAL_RETRY_S)
        self._give_up()

    def _sending(self) -> Producer:
        if self._producer is None:
            self._certificates.note()
            self._producer = new_client(
                Producer,
                {
                    **connection(self._servers),
                    "client.id": f"{self._servers.name}-log",
                    "enable.idempotence": True,
                    "acks": "all",
                    "compression.type": "zstd",
                    "linger.ms": 2,  # a short time suffices, because the collector has already batched the hits
                    "delivery.timeout.ms": DELIVERY_MS,
                    "message.max.bytes": MAX_VALUE_BYTES + (1 << 20),
                    "queue.buffering.max.kbytes": 2 * self._max_queued_bytes // 1024,
                },
            )
            self._poller = threading.Thread(
                target=self._serve_reports, args=(self._producer,), name="kafka-reports", daemon=True
            )
            self._poller.start()
        return self._producer

    def _serve_reports(self, producer: Producer) -> None:
        """Run delivery callbacks until the producer has been discarded and has no pending message."""
        while self._producer is producer or len(producer):
            try:
                producer.poll(_POLL_S)
            except BaseException as error:  # a failing callback must not stop the other callbacks
                logger().error("append_callback_failed", error=type(error).__name__, traceback=traceback_of(error))

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
                future.set_result(self._logged_position(topic, record, message))
        finally:
            with self._lock:
                self._waiting.discard(future)
                self._queued_bytes -= len(record.value)

    def _logged_position(self, topic: Topic, record: Record, message: Message) -> LoggedPosition:
        number, offset = place_of(message)
        partition = PartitionId(self.log_id(topic), number)
        _, appended = message.timestamp()
        self._last[partition] = log_time_of(record, appended, self._last.get(partition, 0))
        return LoggedPosition(Position(*partition, offset), self._last[partition])
