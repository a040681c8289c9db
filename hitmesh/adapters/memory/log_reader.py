"""Read the log in memory, as a member of a consumer group."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hitmesh.adapters.memory.log import MemoryLog
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic
from hitmesh.model.records import LoggedRecord


class MemoryLogReader:
    """Implements the port LogReader on a MemoryLog."""

    def __init__(self, log: MemoryLog, topic: Topic, group: str) -> None:
        self._log = log
        self._topic = topic
        self._group = group
        self._next = log.committed(topic, group)

    def poll(self, max_hits: int, timeout_s: float) -> list[LoggedRecord]:
        """Return the next records in order of log time. A partition's records stay in offset order."""
        found = self._log.read(self._topic, self._next, max_hits, timeout_s)
        for logged in found:
            log, partition, offset = logged.position
            self._next[PartitionId(log, partition)] = PartitionProgress(offset + 1, logged.log_time)
        return found

    def heartbeat(self) -> None:
        """Do nothing, because no other reader shares the partitions."""

    def before_moves(self, hand_over: Callable[[], None]) -> None:
        """Ignore `hand_over`, because this reader never gives up partitions."""

    def positions(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return the read position in each partition."""
        return dict(self._next)

    def committed(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return the committed positions; partitions without a commit start at (0, 0)."""
        return self._log.committed(self._topic, self._group)

    def commit(self, positions: Mapping[PartitionId, PartitionProgress]) -> None:
        """Commit positions; a position older than the committed position is ignored."""
        self._log.commit(self._topic, self._group, positions)

    def close(self) -> None:
        """Do nothing; this reader holds no resources."""
