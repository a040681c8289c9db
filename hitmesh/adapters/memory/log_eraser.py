"""Change log records in memory, to erase hits."""

from __future__ import annotations

from hitmesh.adapters.memory.log import MemoryLog
from hitmesh.model.positions import Position
from hitmesh.model.records import LoggedRecord


class MemoryLogEraser:
    """Implements the port LogEraser on a MemoryLog."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    def record(self, position: Position) -> LoggedRecord | None:
        """Return the record at a position; None if the log has no such record."""
        return self._log.record_at(position)

    def replace(self, logged: LoggedRecord, seen: bytes | None = None) -> bool:
        """Replace a record's value and event times."""
        return self._log.replace(logged, seen)

    def overwrite(self) -> None:
        """Do nothing: memory keeps no replaced bytes."""

    def kept_until(self, log_time: int) -> int:
        """Return 0, because `replace` removes the erased bytes from the log."""
        return 0
