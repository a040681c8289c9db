"""Commit rows and positions together, in memory."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hitmesh.adapters.memory.log import MemoryLog
from hitmesh.adapters.memory.rows import MemoryRows
from hitmesh.adapters.shared.positions import refuse_rows_behind
from hitmesh.model.errors import Fenced
from hitmesh.model.generations import STREAM_GENERATION
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic
from hitmesh.model.stream_values import FoldedRows


@dataclass(slots=True)
class MemoryFence:
    """Holds the number of a stream's newest writer. All outboxes of the stream share this object."""

    stream: int = STREAM_GENERATION
    newest: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class MemoryOutbox:
    """Implements the port Outbox. Stores positions in a MemoryLog, and rows in a MemoryRows.

    Args:
        log: stores the positions.
        rows: stores the rows.
        group: the consumer group of the positions.
        fence: the number of the stream's newest writer.
    """

    def __init__(self, log: MemoryLog, rows: MemoryRows, group: str, fence: MemoryFence | None = None) -> None:
        self._log = log
        self._rows = rows
        self._group = group
        self._fence = fence or MemoryFence()
        self._lock = self._fence.lock

    def take_over(self) -> int:
        """Fence every earlier writer; return this writer's number."""
        with self._lock:
            self._fence.newest += 1
            return self._fence.newest

    def resolve(self, writer: int) -> None:
        """Return immediately, because no transaction is pending once `transaction` has returned.

        Raises:
            Fenced: a later writer took over.
        """
        with self._lock:
            self._refuse_others(writer)

    def transaction(
        self, writer: int, rows: Sequence[FoldedRows], positions: Mapping[PartitionId, PartitionProgress]
    ) -> None:
        """Commit rows and positions.

        Raises:
            Fenced: a later writer took over; nothing was written.
            PartitionsMoved: a transaction with rows has a position that is not beyond the committed position; nothing
                was written.
            ValueError: a position is missing, a position belongs to another store's log, or rows have another stream's
                generation.
        """
        by_topic: dict[Topic, dict[PartitionId, PartitionProgress]] = {}
        for partition, progress in positions.items():
            by_topic.setdefault(self._log.topic_of(partition.log), {})[partition] = progress
        with self._lock:
            self._refuse_others(writer)
            committed = (self._log.committed(topic, self._group) for topic in by_topic)
            refuse_rows_behind(
                rows, positions, {key: value for topic_positions in committed for key, value in topic_positions.items()}
            )
            self._rows.add(rows, self._fence.stream)
            for topic, of_topic in by_topic.items():
                self._log.commit(topic, self._group, of_topic)

    def committed(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return the committed positions of every declared partition of both topics."""
        with self._lock:
            return {
                partition: progress
                for topic in Topic
                for partition, progress in self._log.committed(topic, self._group).items()
            }

    def _refuse_others(self, writer: int) -> None:
        if writer != self._fence.newest:
            raise Fenced(f"writer {writer} must not write any more, because writer {self._fence.newest} took over")
