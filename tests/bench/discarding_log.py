"""An event log that keeps only a sample of its records, so that a benchmark measures the collector and not a disk."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import Future

from hitmesh.model.positions import LoggedPosition, Position, Topic
from hitmesh.model.records import Record
from hitmesh.runtime.clock import SystemClock

PARTITIONS = 8
LOG_ID = "discarded"


class DiscardingLog:
    """A log that gives each record an offset and acknowledges it at once.

    The log keeps every `keep_every`th record in memory, up to `most_kept` records.
    """

    def __init__(self, keep_every: int, most_kept: int) -> None:
        self.rows = 0
        self.records = 0
        self.value_bytes = 0
        self.rejected_records = 0
        self.kept: list[bytes] = []
        self._keep_every = keep_every
        self._most_kept = most_kept
        self._next_offset: Counter[tuple[Topic, int]] = Counter()
        self._clock = SystemClock()
        self._lock = threading.Lock()

    def partitions(self, topic: Topic) -> int:
        """Return the number of partitions: 8 for hits and 1 for refusals."""
        return PARTITIONS if topic is Topic.HITS else 1

    def log_id(self, topic: Topic) -> str:
        """Return a fixed name per topic."""
        return f"{LOG_ID}-{topic}"

    def append(self, topic: Topic, partition: int, record: Record) -> Future[LoggedPosition]:
        """Count the record and return a future that is already resolved."""
        with self._lock:
            offset = self._next_offset[topic, partition]
            self._next_offset[topic, partition] += 1
            if topic is Topic.HITS:
                self._count(record)
            else:
                self.rejected_records += 1
        appended: Future[LoggedPosition] = Future()
        position = Position(self.log_id(topic), partition, offset)
        appended.set_result(LoggedPosition(position, self._clock.now()))
        return appended

    def flush(self, timeout_s: float) -> None:
        """Do nothing, because no record is ever pending."""

    def close(self) -> None:
        """Do nothing, because the log holds no resources."""

    def _count(self, record: Record) -> None:
        if self.records % self._keep_every == 0 and len(self.kept) < self._most_kept:
            self.kept.append(record.value)
        self.records += 1
        self.rows += record.rows
        self.value_bytes += len(record.value)
