"""Scan the log in memory."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from hitmesh.adapters.memory.log import MemoryLog
from hitmesh.model.positions import PartitionId
from hitmesh.model.records import LoggedRecord


class MemoryLogScan:
    """Implements the port LogScan over a MemoryLog, which is never trimmed."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    def first_offset(self, partition: PartitionId) -> int:
        """Return the first retained offset, always 0."""
        return 0

    def offset_at(self, partition: PartitionId, log_time: int) -> int:
        """Return the first offset whose log time is at least `log_time`, or else the end offset."""
        return bisect_left(self._log.records_of(partition), log_time, key=lambda logged: logged.log_time)

    def read(
        self, partition: PartitionId, first_offset: int, end_offset: int, log_time: int = 0
    ) -> Iterator[LoggedRecord]:
        """Yield the records of [first_offset, end_offset) in order, with their stored log times."""
        yield from self._log.records_of(partition)[max(first_offset, 0) : max(end_offset, 0)]
