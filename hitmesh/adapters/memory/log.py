"""Keep the log in memory, as lists under a lock. The log is lost when the process ends."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace
from typing import Final

from hitmesh.adapters.shared.catalogue import DEFAULT_PARTITIONS
from hitmesh.adapters.shared.log_time import log_time_of
from hitmesh.model.cells import cell_of
from hitmesh.model.errors import LogFull, Unavailable
from hitmesh.model.positions import LoggedPosition, PartitionId, PartitionProgress, Position, Topic
from hitmesh.model.records import LoggedRecord, Record
from hitmesh.ports import Clock

MAX_BYTES: Final = 256 << 20
_START: Final = PartitionProgress(0, 0)


class MemoryLog:
    """Implements the port EventLog in memory; all records are kept until the process ends.

    Args:
        clock: source of append times.
        partitions: number of partitions per topic.
        max_bytes: maximum total size of values; beyond it, `append` raises LogFull.
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
        """Return the topic's number of partitions."""
        return len(self.partition_ids(topic))

    def partition_ids(self, topic: Topic) -> list[PartitionId]:
        """Return the topic's partitions."""
        return [partition for partition in self._records if partition.log == self._ids[topic]]

    def log_id(self, topic: Topic) -> str:
        """Return the id of the topic's log."""
        return self._ids[topic]

    def append(self, topic: Topic, partition: int, record: Record) -> Future[LoggedPosition]:
        """Append a record; the returned future is already resolved.

        Raises:
            LogFull: the log is full.
            ValueError: no such partition.
        """
        future: Future[LoggedPosition] = Future()
        with self._changed:
            if self._closed:
                raise Unavailable("the log is closed, because the process is stopping: try again")
            records = self._records.get(PartitionId(self._ids[topic], partition))
            if records is None:
                raise ValueError(f"{topic} has no partition {partition}")
            if self._bytes + len(record.value) > self._max_bytes:
                raise LogFull(
                    f"the log in memory is full: it holds {self._bytes:,} bytes, and the limit is {self._max_bytes:,} "
                    "bytes; restart the process, or keep the data in an embedded store",
                    size=self._bytes,
                    limit=self._max_bytes,
                )
            self._bytes += len(record.value)
            log_time = log_time_of(record, self._clock.now(), records[-1].log_time if records else 0)
            position = Position(self._ids[topic], partition, len(records))
            records.append(LoggedRecord(position, log_time, record))
            self._changed.notify_all()
        future.set_result(LoggedPosition(position, log_time))
        return future

    def flush(self, timeout_s: float) -> None:
        """Return immediately, because the futures of all appends are already done."""

    def close(self) -> None:
        """Refuse further records; existing records stay readable."""
        with self._changed:
            self._closed = True

    def read(
        self, topic: Topic, start: Mapping[PartitionId, PartitionProgress], max_hits: int, timeout_s: float
    ) -> list[LoggedRecord]:
        """Wait for a record; return the next records from `start` on, in order of log time."""
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
        """Return the consumer group's committed position for every partition of the topic."""
        with self._changed:
            saved = self._committed.get((topic, group), {})
            return {partition: saved.get(partition, _START) for partition in self.partition_ids(topic)}

    def commit(self, topic: Topic, group: str, positions: Mapping[PartitionId, PartitionProgress]) -> None:
        """Commit a consumer group's positions; a position older than the committed position is ignored."""
        with self._changed:
            saved = self._committed.setdefault((topic, group), {})
            for partition, progress in positions.items():
                old = saved.get(partition, _START)
                if progress.next_offset >= old.next_offset:
                    saved[partition] = PartitionProgress(progress.next_offset, max(old.log_time, progress.log_time))

    def forget(self, group: str) -> None:
        """Remove a consumer group's positions; idempotent."""
        with self._changed:
            for topic in Topic:
                self._committed.pop((topic, group), None)

    def topic_of(self, log: str) -> Topic:
        """Return the topic to which a log belongs.

        Raises:
            ValueError: the log does not belong to this store.
        """
        for topic, known in self._ids.items():
            if log == known:
                return topic
        raise ValueError(f"log {log} does not belong to this store")

    def records_of(self, partition: PartitionId) -> list[LoggedRecord]:
        """Return all records in a partition in order; the offset is the index."""
        with self._changed:
            return list(self._records[partition])

    def record_at(self, position: Position) -> LoggedRecord | None:
        """Return the record at a position; None if the log has no such record."""
        with self._changed:
            records = self._records.get(PartitionId(position.log, position.partition), [])
            return records[position.offset] if 0 <= position.offset < len(records) else None

    def replace(self, logged: LoggedRecord, seen: bytes | None = None) -> bool:
        """Replace a record's value and times; return False if no record with the value `seen` has this position."""
        there = self.record_at(logged.position)
        if there is None or seen not in (None, there.record.value):
            return False
        log, partition, offset = logged.position
        record = replace(
            there.record,
            value=logged.record.value,
            min_event_time=logged.record.min_event_time,
            max_event_time=logged.record.max_event_time,
            max_collect_time=cell_of(there.record.max_collect_time),
        )
        with self._changed:
            self._bytes += len(record.value) - len(there.record.value)
            self._records[PartitionId(log, partition)][offset] = replace(there, record=record)
        return True

    def _ahead(self, topic: Topic, start: Mapping[PartitionId, PartitionProgress]) -> list[LoggedRecord]:
        return [
            logged
            for partition in self.partition_ids(topic)
            for logged in self._records[partition][start[partition].next_offset :]
        ]
