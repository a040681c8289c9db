"""Read the committed positions of a consumer group from the log in memory."""

from __future__ import annotations

from collections.abc import Mapping

from hitmesh.adapters.memory.log import MemoryLog
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic


class MemoryProgress:
    """Implements the port ProgressReader for a consumer group's committed positions."""

    def __init__(self, log: MemoryLog, group: str) -> None:
        self._log = log
        self._group = group

    def progress(self, topic: Topic) -> Mapping[PartitionId, PartitionProgress]:
        """Return the committed progress of every declared partition; (0, 0) before the first commit."""
        return self._log.committed(topic, self._group)
