"""Read records of a Kafka topic again, without a consumer group, to rebuild state from the log (architecture A5).

Log time is a running maximum (rule L1) that Kafka does not store. If a read begins in the middle of a log, the caller
may pass the log time at the first offset. If the caller passes no log time, the read begins `look_back` records earlier
to estimate the log time. An estimated log time may be too early. A scan commits no positions.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from hitmesh.adapters.kafka.connection import connection, new_client
from hitmesh.adapters.kafka.errors import unavailable
from hitmesh.adapters.kafka.records import logged_behind, place_of
from hitmesh.adapters.servers import Servers
from hitmesh.adapters.shared.catalogue import Catalogue
from hitmesh.model.errors import Unavailable
from hitmesh.model.positions import PartitionId
from hitmesh.model.records import LoggedRecord

LOOK_BACK: Final = 64
_CALL_S: Final = 10.0
_SILENT_S: Final = 30.0
_BATCH: Final = 200
_WAIT_S: Final = 1.0
_PASSING: Final = frozenset({KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._TIMED_OUT})


class KafkaLogScan:
    """Implements the port LogScan for Kafka topics. Thread-safe, because each call has a separate consumer.

    Args:
        servers: addresses of Kafka and topic names.
        catalogue: the current log of each topic.
        look_back: the number of records before the start that are also read if the log time at the start is unknown.
    """

    def __init__(self, servers: Servers, catalogue: Catalogue, look_back: int = LOOK_BACK) -> None:
        self._servers = servers
        self._look_back = look_back
        self._catalogue = catalogue

    def first_offset(self, partition: PartitionId) -> int:
        """Return the first retained offset, or the end offset if no record is retained."""
        with self._consumer() as consumer:
            return self._retained(consumer, partition)[0]

    def offset_at(self, partition: PartitionId, log_time: int) -> int:
        """Return the first retained offset whose log time is at least `log_time`, or else the end offset.

        Kafka's time index finds the first offset whose append time is at least `log_time`. The result is this offset or
        a later offset, because a record's log time never exceeds the latest append time so far. If the clocks of all
        processes agree, the offset from the time index is the result. If clocks differ, a binary search over the later
        offsets finds the result, because log time never decreases.
        """
        with self._consumer() as consumer:
            first, end = self._retained(consumer, partition)
            first = max(first, self._indexed(consumer, partition, log_time, end))
        look = first
        while first < end:
            found = next(self.read(partition, look, look + 1), None)
            if found is not None and found.log_time >= log_time:
                end = look
            else:
                first = look + 1
            look = (first + end) // 2
        return first

    def read(
        self, partition: PartitionId, first_offset: int, end_offset: int, log_time: int = 0
    ) -> Iterator[LoggedRecord]:
        """Yield the retained records of [first_offset, end_offset) in order.

        `log_time` is the log time of the record at `first_offset` or of the preceding record; 0 means unknown.
        """
        with self._consumer() as consumer:
            first, end = self._retained(consumer, partition)
            begin, end = max(first, first_offset), min(end, end_offset)
            if begin >= end:
                return
            start = begin if log_time else max(first, begin - self._look_back)
            for logged in logged_behind(self._messages(consumer, partition, start, end), partition.log, log_time):
                if logged.position.offset >= begin:
                    yield logged

    def close(self) -> None:
        """Do nothing, because no resources are held between calls."""

    def _messages(self, consumer: Consumer, partition: PartitionId, first: int, end: int) -> Iterator[Message]:
        """Yield the messages at offsets [first, end); `end` must not exceed the partition's end."""
        topic = self._topic(partition)
        consumer.assign([TopicPartition(topic, partition.partition, first)])
        for message in self._consumed(consumer, topic):
            problem = message.error()
            if problem is None:
                _, offset = place_of(message)
                if offset < end:
                    yield message
                if offset >= end - 1:
                    return
            elif problem.code() == KafkaError._PARTITION_EOF:
                if place_of(message)[1] >= end:
                    return
            elif not problem.retriable() and problem.code() not in _PASSING:
                raise unavailable(problem, f"read of {topic}")

    def _consumed(self, consumer: Consumer, topic: str) -> Iterator[Message]:
        """Yield messages; raise Unavailable when no message has arrived for 30 s."""
        silent_since = time.monotonic()
        while time.monotonic() - silent_since < _SILENT_S:
            try:
                messages = consumer.consume(1, _WAIT_S)
                messages += consumer.consume(_BATCH, 0.0) if messages else []
            except KafkaException as error:
                raise unavailable(error, f"read of {topic}") from error
            yield from messages
            if any(message.error() is None for message in messages):
                silent_since = time.monotonic()
        raise Unavailable(
            f"Kafka returned no record of {topic} for {_SILENT_S:.0f} s: check that all brokers run",
            topic=str(topic),
            timeout_s=_SILENT_S,
        )

    def _indexed(self, consumer: Consumer, partition: PartitionId, log_time: int, end: int) -> int:
        """Return the first offset whose append time is at least `log_time`, or else the end offset."""
        question = TopicPartition(self._topic(partition), partition.partition, max(0, log_time))
        try:
            (found,) = consumer.offsets_for_times([question], timeout=_CALL_S)
        except KafkaException as error:
            raise unavailable(error, f"look-up of the time index of {question.topic}/{question.partition}") from error
        if found.error is not None:
            raise unavailable(found.error, f"look-up of the time index of {question.topic}/{question.partition}")
        return end if found.offset < 0 else int(found.offset)

    def _retained(self, consumer: Consumer, partition: PartitionId) -> tuple[int, int]:
        topic = self._topic(partition)
        try:
            first, end = consumer.get_watermark_offsets(TopicPartition(topic, partition.partition), timeout=_CALL_S)
        except KafkaException as error:
            raise unavailable(error, f"look-up of the ends of {topic}/{partition.partition}") from error
        return first, end

    def _topic(self, partition: PartitionId) -> str:
        topic = self._catalogue.topic_of(partition.log)
        if not 0 <= partition.partition < self._catalogue.partitions(topic):
            raise ValueError(f"{partition.log} has no partition {partition.partition}")
        return self._servers.topic(topic)

    @contextmanager
    def _consumer(self) -> Iterator[Consumer]:
        consumer = new_client(
            Consumer,
            {
                **connection(self._servers),
                # the client requires a group id, but no positions are committed
                "group.id": f"{self._servers.name}-scan",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "check.crcs": True,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 50,
                "queued.max.messages.kbytes": 32 << 10,
                "fetch.message.max.bytes": 16 << 20,
            },
        )
        try:
            yield consumer
        finally:
            consumer.close()
