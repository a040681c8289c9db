"""Step 4 of the journey on Kafka: the records of the partitions that the group gives to this reader.

Decides that a reader is a member of its group for life: where its partitions change it says so and is replaced by a new
one, since rewinding a consumer that prefetches loses messages. A partition begins where its group committed, with the
log time that stands in the commit's metadata (rule L1). Refuses to skip what is gone from the log.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Final

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from hitmesh.adapters.kafka.catalogue import Catalogue
from hitmesh.adapters.kafka.errors import unavailable
from hitmesh.adapters.kafka.members import GroupMembers
from hitmesh.adapters.kafka.offsets import committed_by, offset_of
from hitmesh.adapters.kafka.records import logged_of, place_of
from hitmesh.adapters.servers import Servers
from hitmesh.model.errors import FatalError, PartitionsMoved, Unavailable
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic
from hitmesh.model.records import LoggedRecord

SESSION_MS: Final = 15_000
# The group takes a member for dead that does not read for so long.
MAX_SILENCE_S: Final = 300.0
_ASSIGNED_S: Final = 60.0
_JOIN_POLL_S: Final = 0.1
_CALL_S: Final = 10.0
_BATCH: Final = 50
# Records that wait for the next poll; heartbeats have no rows, so rows alone bound nothing.
_MAX_AHEAD: Final = 500
_QUEUED_KIB: Final = 32 << 10
# The client reconnects by itself; nothing is lost meanwhile.
_PASSING: Final = frozenset(
    {KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._RESOLVE}
)


def group_id(servers: Servers, group: str, topic: Topic) -> str:
    """Returns the name of a group of readers in Kafka: each topic has one of its own."""
    return f"{servers.name}-{group}-{topic}"


class KafkaLogReader:
    """A LogReader of a Kafka topic; a member of its group until it is closed. Confined to one thread.

    Args:
        servers: where Kafka is, and what topics are called.
        catalogue: which log each topic is.
        topic: what is read.
        group: whose positions count.
        node: name of this instance: under it the group finds a member that comes back (static membership).
        members: where transactions find the membership.
        max_silence_s: how long it may be between two calls of `poll` or `stay`, at least 15 s.
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
        self._stay_every_s = max_silence_s / 10
        self._read_s = time.monotonic()
        self._is_assigned = self._has_moved = self._is_lost = self._is_closed = False
        self._consumer = Consumer(
            {
                "bootstrap.servers": servers.kafka,
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
                # Little of a partition at a time, so that none runs far ahead; a larger record comes all the same.
                "max.partition.fetch.bytes": 1 << 20,
                "fetch.max.bytes": 16 << 20,
                "log_level": 3,
            }
        )
        try:
            self._join()
        except BaseException:
            self._consumer.close()
            raise
        self._accept()

    def poll(self, max_hits: int, timeout_s: float) -> list[LoggedRecord]:
        """Returns the next records, oldest log time first, in order per partition; waits for the first of them.

        At most `max_hits` rows together, but at least one record; empty when none came within `timeout_s`.

        Raises:
            PartitionsMoved: the group changed what this reader has.
            Unavailable: Kafka does not answer, or gave this reader's place to another; open a new one.
            FatalError: records that were not read are gone from the log.
        """
        self._fetch(max_hits, 0.0 if self._ahead else timeout_s)
        taken = self._take(max_hits)
        for logged in taken:
            partition = PartitionId(logged.position.log, logged.position.partition)
            self._next[partition] = PartitionProgress(logged.position.offset + 1, logged.log_time)
        return taken

    def stay(self) -> None:
        """Says that this reader lives: reads a message ahead, a tenth of the time after the last one.

        Raises:
            PartitionsMoved: the group changed what this reader has.
            Unavailable: Kafka does not answer, or gave this reader's place to another; open a new one.
        """
        if time.monotonic() - self._read_s < self._stay_every_s:
            return
        for message in self._consumed(1, 0.0):
            self._keep(message)
        self._refuse_when_moved()

    def positions(self) -> Mapping[PartitionId, PartitionProgress]:
        """Returns the next record to read of each of its partitions; whoever asks knows which it has now."""
        self._accept()
        return dict(self._next)

    def committed(self) -> Mapping[PartitionId, PartitionProgress]:
        """Returns what was committed last of its partitions; (0, 0) without a commit."""
        return committed_by(self._consumer, self._kafka_topic, list(self._next))

    def commit(self, positions: Mapping[PartitionId, PartitionProgress]) -> None:
        """Saves positions durably; older ones are ignored.

        Raises:
            PartitionsMoved: this reader has lost partitions; nothing was saved.
        """
        self._refuse_when_moved()
        lost = sorted(partition.partition for partition in positions.keys() - self._next.keys())
        if lost:
            raise PartitionsMoved(f"partitions {lost} of {self._kafka_topic} are another reader's", retry_after_s=0)
        there = committed_by(self._consumer, self._kafka_topic, list(positions))
        newer = [one for one, done in positions.items() if _is_newer(done, there[one])]
        if not newer:
            return
        offsets = [offset_of(self._kafka_topic, one, positions[one]) for one in newer]
        try:
            for done in self._consumer.commit(offsets=offsets, asynchronous=False):
                if done.error is not None:
                    raise unavailable(done.error, f"commit of {self._kafka_topic}")
        except KafkaException as error:
            raise unavailable(error, f"commit of {self._kafka_topic}") from error

    def close(self) -> None:
        """Lets go; the group keeps the place of this member for a while. A second call changes nothing."""
        if not self._is_closed:
            self._is_closed = True
            self._members.leave(self._topic, self._group, self._consumer)
            self._consumer.close()

    def _join(self) -> None:
        """Waits for the first assignment, and begins each partition where it was committed."""
        self._consumer.subscribe(
            [self._kafka_topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )
        deadline = time.monotonic() + _ASSIGNED_S
        while not self._is_assigned:
            for message in self._consumed(1, _JOIN_POLL_S):
                self._keep(message)
            if time.monotonic() > deadline:
                raise Unavailable(f"Kafka gave this reader no partitions of {self._kafka_topic} in {_ASSIGNED_S:.0f} s")

    def _accept(self) -> None:
        """Lets transactions commit with the membership of this reader: what it has now is known to its user."""
        if not self._has_moved and not self._is_closed:
            self._members.join(self._topic, self._group, self._consumer)

    def _assigned(self, consumer: Consumer, assigned: Sequence[TopicPartition]) -> None:
        """Begins what was assigned where it was committed. The member stays: one that left would move everything."""
        if self._is_assigned:
            self._move()
        partitions = [PartitionId(self._log_id, one.partition) for one in assigned]
        committed = committed_by(consumer, self._kafka_topic, partitions)
        for partition, done in committed.items():
            first, end = consumer.get_watermark_offsets(
                TopicPartition(self._kafka_topic, partition.partition), timeout=_CALL_S
            )
            if not first <= done.next_offset <= end and (done.next_offset or first):
                raise FatalError(
                    f"{self._kafka_topic}/{partition.partition} has records {first} to {end}, and the group would go "
                    f"on at {done.next_offset}: what is between is lost; restore it, or commit {first} by hand"
                )
        self._next = dict(committed)
        self._times = {one.partition: done.log_time for one, done in committed.items()}
        consumer.assign(
            [TopicPartition(self._kafka_topic, one.partition, done.next_offset) for one, done in committed.items()]
        )
        self._is_assigned = True

    def _revoked(self, consumer: Consumer, revoked: Sequence[TopicPartition]) -> None:
        if not self._is_closed:
            self._move()

    def _lost(self, consumer: Consumer, lost: Sequence[TopicPartition]) -> None:
        """The group went on without this member: after a broker's death, or after ours was taken for dead."""
        self._is_lost = True
        self._revoked(consumer, lost)

    def _move(self) -> None:
        """Forgets what was read.

        The client joins again by itself, with a membership that counts: nobody may use it for what was read before, so
        it is withdrawn until somebody asks what the reader has now.
        """
        self._has_moved = True
        self._next, self._ahead, self._times = {}, [], {}
        self._members.leave(self._topic, self._group, self._consumer)

    def _refuse_when_moved(self) -> None:
        if self._is_lost:
            # What the client does by itself then may come to nothing: it can fence its own second try to join.
            raise Unavailable(f"this reader of {self._kafka_topic} lost its place in the group", retry_after_s=0.5)
        if self._has_moved:
            self._has_moved = False
            raise PartitionsMoved(f"partitions of {self._kafka_topic} moved; begin from its positions", retry_after_s=0)

    def _fetch(self, max_hits: int, timeout_s: float) -> None:
        """Reads the first message within the time-out, and others that wait already, until there are enough."""
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
            return  # of a partition that is another reader's by now
        logged = logged_of(message, self._log_id, self._times[number])
        self._times[number] = logged.log_time
        self._ahead.append(logged)

    def _refuse(self, error: KafkaError) -> None:
        """Raises what an error means that came in place of a message, unless it passes by itself."""
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            raise FatalError(f"records of {self._kafka_topic} that were not read are gone from the log: {error}")
        if not error.retriable() and error.code() not in _PASSING:
            raise unavailable(error, f"read of {self._kafka_topic}")

    def _take(self, max_hits: int) -> list[LoggedRecord]:
        """Returns what was read, by log time, up to so many hits; the rest stays for the next poll."""
        ordered = sorted(self._ahead, key=lambda logged: (logged.log_time, logged.position))
        hits, count = 0, 0
        for logged in ordered:
            hits += logged.record.rows
            if count and hits > max_hits:
                break
            count += 1
        self._ahead = ordered[count:]
        return ordered[:count]


def _is_newer(done: PartitionProgress, there: PartitionProgress) -> bool:
    return (done.next_offset, done.log_time) > (there.next_offset, there.log_time)
