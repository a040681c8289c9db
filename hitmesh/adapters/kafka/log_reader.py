"""Read the Kafka partitions that the consumer group assigns to this reader (step 4 of the journey).

A reader is a group member until it is closed. When the reader's partitions change, the reader raises PartitionsMoved.
The reader sets its positions only by a new assignment, never by a seek. If a consumer prefetches, a seek loses
messages. The first read of each partition begins at the committed position, with the log time from the commit's
metadata (rule L1). If records are missing from the log, the reader raises an error and never skips them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from hitmesh.adapters.kafka.connection import CertificateWatch, connection, new_client
from hitmesh.adapters.kafka.errors import unavailable
from hitmesh.adapters.kafka.members import GroupMembers
from hitmesh.adapters.kafka.offsets import committed_by, is_newer, offset_of
from hitmesh.adapters.kafka.records import logged_of, place_of
from hitmesh.adapters.servers import Servers
from hitmesh.adapters.shared.catalogue import Catalogue
from hitmesh.model.errors import FatalError, PartitionsMoved, Unavailable
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic
from hitmesh.model.records import LoggedRecord

SESSION_MS: Final = 15_000
# Kafka removes a member from the consumer group after this time without a poll.
MAX_SILENCE_S: Final = 300.0
_ASSIGNED_S: Final = 60.0
_JOIN_POLL_S: Final = 0.1
_CALL_S: Final = 10.0
_BATCH: Final = 50
# Maximum number of records read ahead for the next poll. A limit on rows would not be enough, because heartbeat records
# have no rows.
_MAX_AHEAD: Final = 500
_QUEUED_KIB: Final = 32 << 10
# The client reconnects on these errors without losing messages.
_PASSING: Final = frozenset(
    {KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._RESOLVE}
)


def group_id(servers: Servers, group: str, topic: Topic) -> str:
    """Return the Kafka name of a consumer group; each topic has a separate group."""
    return f"{servers.name}-{group}-{topic}"


class KafkaLogReader:
    """Implements the port LogReader for a Kafka topic.

    A reader is a member of the consumer group until it is closed. A reader must be used by one thread only.

    Args:
        servers: addresses of Kafka and topic names.
        catalogue: the current log of each topic.
        topic: the topic to read.
        group: the consumer group whose positions are used.
        node: name of this instance; the consumer group recognizes a returning member by this name (static membership).
        members: registry through which transactions find this reader's membership in the consumer group.
        max_silence_s: maximum time between two calls of `poll` or `heartbeat`, at least 15 s.
    """

    def __init__(
        self,
        servers: Servers,
        catalogue: Catalogue,
        topic: Topic,
        group: str,
        node: str,
        members: GroupMembers,
        *,
        max_silence_s: float = MAX_SILENCE_S,
    ) -> None:
        self._topic = topic
        self._group = group
        self._kafka_topic = servers.topic(topic)
        self._log_id = catalogue.log_id(topic)
        self._members = members
        self._next: dict[PartitionId, PartitionProgress] = {}
        self._ahead: list[LoggedRecord] = []
        self._times: dict[int, int] = {}
        self._heartbeat_every_s = max_silence_s / 10
        self._read_s = time.monotonic()
        self._certificates = CertificateWatch(servers)
        self._hand_over: Callable[[], None] = lambda: None
        self._is_assigned = self._has_moved = self._is_lost = self._is_closed = False
        self._consumer = new_client(
            Consumer,
            {
                **connection(servers),
                "group.id": group_id(servers, group, topic),
                "group.instance.id": node,
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "check.crcs": True,
                "partition.assignment.strategy": "range",
                "session.timeout.ms": SESSION_MS,
                "heartbeat.interval.ms": SESSION_MS // 5,
                "max.poll.interval.ms": int(max_silence_s * 1_000),
                "fetch.wait.max.ms": 100,
                "queued.max.messages.kbytes": _QUEUED_KIB,
                # A small limit makes sure that no partition is read far ahead of the others. Kafka returns a record
                # even if it is larger than the limit.
                "max.partition.fetch.bytes": 1 << 20,
                "fetch.max.bytes": 16 << 20,
            },
        )
        try:
            self._join()
        except BaseException:
            self._consumer.close()
            raise
        self._accept()

    def poll(self, max_hits: int, timeout_s: float) -> list[LoggedRecord]:
        """Wait for a record; return the next records in order of log time. A partition's records stay in offset order.

        The records have at most `max_hits` rows in total, unless the first record alone has more. The result is empty
        when no record arrived within `timeout_s`.

        Raises:
            PartitionsMoved: the consumer group reassigned partitions.
            Unavailable: Kafka does not answer, another member replaced this reader, or the certificate of this process
                was replaced. The caller must open a new reader.
            FatalError: unread records are missing from the log.
        """
        if self._certificates.has_changed():
            self._hand_over()  # the next reader of this process then needs no replay
            raise Unavailable(
                f"the reader of {self._kafka_topic} uses a certificate that was replaced; open a new reader",
                retry_after_s=0.5,
                topic=self._kafka_topic,
            )
        self._fetch(max_hits, 0.0 if self._ahead else timeout_s)
        taken = self._take(max_hits)
        for logged in taken:
            partition = PartitionId(logged.position.log, logged.position.partition)
            self._next[partition] = PartitionProgress(logged.position.offset + 1, logged.log_time)
        return taken

    def heartbeat(self) -> None:
        """If `max_silence_s` / 10 has passed since the last read, read a message ahead to remain a group member.

        Raises:
            PartitionsMoved: the consumer group reassigned partitions.
            Unavailable: Kafka does not answer, or another member replaced this reader. The caller must open a new
                reader.
        """
        if time.monotonic() - self._read_s < self._heartbeat_every_s:
            return
        for message in self._consumed(1, 0.0):
            self._keep(message)
        self._refuse_when_moved()

    def before_moves(self, hand_over: Callable[[], None]) -> None:
        """Call `hand_over` before this reader gives up partitions.

        The group waits for this reader, for at most `max_silence_s`, before the partitions get other readers.
        """
        self._hand_over = hand_over

    def positions(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return the read position in each assigned partition, and accept the current assignment.

        Transactions may use this reader's membership only after the assignment is accepted.
        """
        self._accept()
        return dict(self._next)

    def committed(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return the committed position of each assigned partition; (0, 0) without a commit."""
        return committed_by(self._consumer, self._kafka_topic, list(self._next))

    def commit(self, positions: Mapping[PartitionId, PartitionProgress]) -> None:
        """Commit positions durably; a position older than the committed position is ignored.

        Raises:
            PartitionsMoved: this reader has lost partitions; nothing was committed.
        """
        self._refuse_when_moved()
        lost = sorted(partition.partition for partition in positions.keys() - self._next.keys())
        if lost:
            raise PartitionsMoved(f"partitions {lost} of {self._kafka_topic} moved to another reader", retry_after_s=0)
        there = committed_by(self._consumer, self._kafka_topic, list(positions))
        newer = [partition for partition, done in positions.items() if is_newer(done, there[partition])]
        if not newer:
            return
        offsets = [offset_of(self._kafka_topic, partition, positions[partition]) for partition in newer]
        try:
            for done in self._consumer.commit(offsets=offsets, asynchronous=False):
                if done.error is not None:
                    raise unavailable(done.error, f"commit of {self._kafka_topic}")
        except KafkaException as error:
            raise unavailable(error, f"commit of {self._kafka_topic}") from error

    def close(self) -> None:
        """Close the consumer. The consumer remains a group member until its session times out.

        A second call changes nothing.
        """
        if not self._is_closed:
            self._is_closed = True
            self._members.leave(self._topic, self._group, self._consumer)
            self._consumer.close()

    def _join(self) -> None:
        """Wait for the first assignment, and begin each partition at the committed position."""
        self._consumer.subscribe(
            [self._kafka_topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )
        deadline = time.monotonic() + _ASSIGNED_S
        while not self._is_assigned:
            for message in self._consumed(1, _JOIN_POLL_S):
                self._keep(message)
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"Kafka assigned no partitions of {self._kafka_topic} within {_ASSIGNED_S:.0f} s: check that all "
                    "brokers run",
                    topic=self._kafka_topic,
                    timeout_s=_ASSIGNED_S,
                )

    def _accept(self) -> None:
        """Let transactions use this reader's membership.

        Must be called only when the reader's caller knows which partitions are assigned.
        """
        if not self._has_moved and not self._is_closed:
            self._members.join(self._topic, self._group, self._consumer)

    def _assigned(self, consumer: Consumer, assigned: Sequence[TopicPartition]) -> None:
        """Begin the assigned partitions at the committed positions.

        The reader stays in the consumer group, because leaving would trigger another rebalance.
        """
        if self._is_assigned:
            self._move()
        partitions = [PartitionId(self._log_id, assignment.partition) for assignment in assigned]
        committed = committed_by(consumer, self._kafka_topic, partitions)
        for partition, done in committed.items():
            first, end = consumer.get_watermark_offsets(
                TopicPartition(self._kafka_topic, partition.partition), timeout=_CALL_S
            )
            if not first <= done.next_offset <= end and (done.next_offset or first):
                raise FatalError(
                    f"{self._kafka_topic}/{partition.partition} has records {first} to {end}, but the group "
                    f"is committed at {done.next_offset}: records are lost; restore the records, or commit "
                    f"offset {first} by hand to continue without them",
                    topic=self._kafka_topic,
                    partition=str(partition.partition),
                    first=first,
                    last=end,
                    position=done.next_offset,
                )
        self._next = dict(committed)
        self._times = {partition.partition: done.log_time for partition, done in committed.items()}
        consumer.assign(
            [
                TopicPartition(self._kafka_topic, partition.partition, done.next_offset)
                for partition, done in committed.items()
            ]
        )
        self._is_assigned = True

    def _revoked(self, consumer: Consumer, revoked: Sequence[TopicPartition]) -> None:
        if not self._is_closed:
            try:
                if not self._is_lost:
                    self._hand_over()
            finally:
                self._move()

    def _lost(self, consumer: Consumer, lost: Sequence[TopicPartition]) -> None:
        """Handle this member's removal from the consumer group.

        A broker's death or a long time without a poll causes a removal.
        """
        self._is_lost = True
        self._revoked(consumer, lost)

    def _move(self) -> None:
        """Forget the positions and the records that were read ahead, and withdraw the membership from transactions.

        The client rejoins the consumer group by itself and then has a valid membership. With the new membership, a
        transaction must not commit positions of records that were read before the partitions moved. Transactions
        therefore get no membership until the caller calls `positions`.
        """
        self._has_moved = True
        self._next, self._ahead, self._times = {}, [], {}
        self._members.leave(self._topic, self._group, self._consumer)

    def _refuse_when_moved(self) -> None:
        if self._is_lost:
            # The caller must open a new reader, because this client may fence itself when it joins a second time.
            raise Unavailable(
                f"this reader of {self._kafka_topic} was removed from the consumer group; open a new reader",
                retry_after_s=0.5,
                topic=self._kafka_topic,
            )
        if self._has_moved:
            self._has_moved = False
            raise PartitionsMoved(
                f"partitions of {self._kafka_topic} moved; begin from the reader's positions", retry_after_s=0
            )

    def _fetch(self, max_hits: int, timeout_s: float) -> None:
        """Wait up to `timeout_s` for a message.

        Then read further messages that are available at once, until `max_hits` rows or `_MAX_AHEAD` records are read
        ahead.
        """
        messages = self._consumed(1, timeout_s)
        while messages:
            for message in messages:
                self._keep(message)
            rows = sum(logged.record.rows for logged in self._ahead)
            is_enough = rows >= max_hits or len(self._ahead) >= _MAX_AHEAD
            messages = [] if is_enough else self._consumed(_BATCH, 0.0)
        self._refuse_when_moved()

    def _consumed(self, count: int, timeout_s: float) -> list[Message]:
        self._read_s = time.monotonic()
        try:
            messages: list[Message] = self._consumer.consume(count, timeout_s)
        except KafkaException as error:
            raise unavailable(error, f"read of {self._kafka_topic}") from error
        return messages

    def _keep(self, message: Message) -> None:
        error = message.error()
        if error is not None:
            self._refuse(error)
            return
        number, _ = place_of(message)
        if number not in self._times:
            return  # the message is ignored, because the partition has moved to another reader
        logged = logged_of(message, self._log_id, self._times[number])
        self._times[number] = logged.log_time
        self._ahead.append(logged)

    def _refuse(self, error: KafkaError) -> None:
        """Raise the error for a KafkaError that the consumer returned instead of a message; ignore transient errors."""
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            raise FatalError(
                f"unread records of {self._kafka_topic} are gone from the log ({error}): restore the records, or "
                "commit the first stored offset by hand to continue without them",
                topic=self._kafka_topic,
                cause=str(error),
            )
        if not error.retriable() and error.code() not in _PASSING:
            raise unavailable(error, f"read of {self._kafka_topic}")

    def _take(self, max_hits: int) -> list[LoggedRecord]:
        """Return records that were read ahead, in order of log time, up to `max_hits` rows; keep the rest for later."""
        ordered = sorted(self._ahead, key=lambda logged: (logged.log_time, logged.position))
        hits, count = 0, 0
        for logged in ordered:
            hits += logged.record.rows
            if count and hits > max_hits:
                break
            count += 1
        self._ahead = ordered[count:]
        return ordered[:count]
