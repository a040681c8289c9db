"""The log in memory: lists under one lock. Durable as long as the process."""

from __future__ import annotations

import secrets
import threading
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from typing import Final

from hitmesh.adapters.shared.log_time import log_time_of
from hitmesh.model.errors import LogFull, Unavailable
from hitmesh.model.positions import LoggedPosition, PartitionId, PartitionProgress, Position, Topic
from hitmesh.model.records import LoggedRecord, Record
from hitmesh.ports import Clock

DEFAULT_PARTITIONS: Final[Mapping[Topic, int]] = {Topic.HITS: 4, Topic.REJECTED: 1}
MAX_BYTES: Final = 256 << 20
_START: Final = PartitionProgress(0, 0)


class MemoryLog:
    """An EventLog that keeps everything until the process ends.

    Args:
        clock: gives append times.
        partitions: how many partitions each topic has.
        max_bytes: bytes of values that it takes; more is LogFull.
    """

    def __init__(
        self,
        clock: Clock,
        partitions: Mapping[Topic, int] = DEFAULT_PARTITIONS,
        *,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._clock = clock
        self._max_bytes = max_bytes
        self._bytes = 0
        self._closed = False
        self._ids = {topic: f"{topic}.{secrets.token_hex(8)}" for topic in Topic}
        self._records: dict[PartitionId, list[LoggedRecord]] = {
            PartitionId(self._ids[topic], number): [] for topic, count in partitions.items() for number in range(count)
        }
        self._committed: dict[tuple[Topic, str], dict[PartitionId, PartitionProgress]] = {}
        self._changed = threading.Condition()

    def partitions(self, topic: Topic) -> int:
        """Returns how many partitions the topic has."""
        return len(self.partition_ids(topic))

    def partition_ids(self, topic: Topic) -> list[PartitionId]:
        """Returns every partition of the topic."""
        return [partition for partition in self._records if partition.log == self._ids[topic]]

    def log_id(self, topic: Topic) -> str:
        """Returns which log the topic is."""
        return self._ids[topic]

    def append(self, topic: Topic, partition: int, record: Record) -> Future[LoggedPosition]:
        """Appends a record; the future is resolved already.

        Raises:
            LogFull: the log is full.
            ValueError: no such partition.
        """
        future: Future[LoggedPosition] = Future()
        with self._changed:
            if self._closed:
                raise Unavailable("the log is closed")
            records = self._records.get(PartitionId(self._ids[topic], partition))
            if records is None:
                raise ValueError(f"{topic} has no partition {partition}")
            if self._bytes + len(record.value) > self._max_bytes:
                raise LogFull(f"the log holds {self._bytes} bytes; the rule is at most {self._max_bytes}")
            self._bytes += len(record.value)
            log_time = log_time_of(record, self._clock.now(), records[-1].log_time if records else 0)
            position = Position(self._ids[topic], partition, len(records))
            records.append(LoggedRecord(position, log_time, record))
            self._changed.notify_all()
        future.set_result(LoggedPosition(position, log_time))
        return future

    def flush(self, timeout_s: float) -> None:
        """Returns: every append is resolved."""

    def close(self) -> None:
        """Takes no more records; what is there can still be read."""
        with self._changed:
            self._closed = True

    def read(
        self, topic: Topic, start: Mapping[PartitionId, PartitionProgress], max_hits: int, timeout_s: float
    ) -> list[LoggedRecord]:
        """Returns the next records from `start` on, oldest log time first; waits for the first of them."""
        with self._changed:
            self._changed.wait_for(lambda: self._ahead(topic, start), timeout_s)
            ahead = sorted(self._ahead(topic, start), key=lambda logged: (logged.log_time, logged.position))
        taken: list[LoggedRecord] = []
        hits = 0
        for logged in ahead:
            hits += logged.record.rows
            if taken and hits > max_hits:
                break
            taken.append(logged)
        return taken

    def committed(self, topic: Topic, group: str) -> dict[PartitionId, PartitionProgress]:
        """Returns what the group committed, for every partition of the topic."""
        with self._changed:
            saved = self._committed.get((topic, group), {})
            return {partition: saved.get(partition, _START) for partition in self.partition_ids(topic)}

    def commit(self, topic: Topic, group: str, positions: Mapping[PartitionId, PartitionProgress]) -> None:
        """Saves positions of a group; older ones are ignored."""
        with self._changed:
            saved = self._committed.setdefault((topic, group), {})
            for partition, progress in positions.items():
                old = saved.get(partition, _START)
                if progress.next_offset >= old.next_offset:
                    saved[partition] = PartitionProgress(progress.next_offset, max(old.log_time, progress.log_time))

    def topic_of(self, log: str) -> Topic:
        """Returns which topic a log is.

        Raises:
            ValueError: it is none of this store.
        """
        for topic, known in self._ids.items():
            if log == known:
                return topic
        raise ValueError(f"{log} is no log of this store")

    def records_of(self, partition: PartitionId) -> list[LoggedRecord]:
        """Returns all records of a partition, in order: the offset is the index."""
        with self._changed:
            return list(self._records[partition])

    def _ahead(self, topic: Topic, start: Mapping[PartitionId, PartitionProgress]) -> list[LoggedRecord]:
        return [
            logged
            for partition in self.partition_ids(topic)
            for logged in self._records[partition][start[partition].next_offset :]
        ]


class MemoryLogReader:
    """A LogReader on a MemoryLog."""

    def __init__(self, log: MemoryLog, topic: Topic, group: str) -> None:
        self._log = log
        self._topic = topic
        self._group = group
        self._next = log.committed(topic, group)

    def poll(self, max_hits: int, timeout_s: float) -> list[LoggedRecord]:
        """Returns the next records, oldest log time first, in order per partition."""
        found = self._log.read(self._topic, self._next, max_hits, timeout_s)
        for logged in found:
            log, partition, offset = logged.position
            self._next[PartitionId(log, partition)] = PartitionProgress(offset + 1, logged.log_time)
        return found

    def stay(self) -> None:
        """Nothing to say: nobody else wants its partitions."""

    def positions(self) -> Mapping[PartitionId, PartitionProgress]:
        """Returns the next record to read of each partition."""
        return dict(self._next)

    def committed(self) -> Mapping[PartitionId, PartitionProgress]:
        """Returns what was committed last; partitions without a commit start at (0, 0)."""
        return self._log.committed(self._topic, self._group)

    def commit(self, positions: Mapping[PartitionId, PartitionProgress]) -> None:
        """Saves positions; older ones are ignored."""
        self._log.commit(self._topic, self._group, positions)

    def close(self) -> None:
        """Lets go. A second call changes nothing."""


class MemoryProgress:
    """A ProgressReader: what one group committed."""

    def __init__(self, log: MemoryLog, group: str) -> None:
        self._log = log
        self._group = group

    def progress(self, topic: Topic) -> Mapping[PartitionId, PartitionProgress]:
        """Returns the committed progress of every declared partition; one without is (0, 0)."""
        return self._log.committed(topic, self._group)


class MemoryLogScan:
    """A LogScan: nothing of a MemoryLog is ever trimmed."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    def first_offset(self, partition: PartitionId) -> int:
        """Returns the first offset that is still there."""
        return 0

    def offset_at(self, partition: PartitionId, log_time: int) -> int:
        """Returns the first offset whose log time is at least `log_time`; the end when none is."""
        return bisect_left(self._log.records_of(partition), log_time, key=lambda logged: logged.log_time)

    def read(
        self, partition: PartitionId, first_offset: int, end_offset: int, log_time: int = 0
    ) -> Iterator[LoggedRecord]:
        """Yields the records of [first_offset, end_offset) in order; their log times were kept with them."""
        yield from self._log.records_of(partition)[max(first_offset, 0) : max(end_offset, 0)]
