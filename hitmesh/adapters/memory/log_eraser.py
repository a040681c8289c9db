"""Changes to records of the log in memory."""

from __future__ import annotations

from hitmesh.adapters.memory.log import MemoryLog
from hitmesh.model.positions import Position
from hitmesh.model.records import LoggedRecord


class MemoryLogEraser:
    """Implementation of LogEraser on a MemoryLog."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    def record(self, position: Position) -> LoggedRecord | None:
        """Return the record at a position; None when the log does not have the record."""
        return self._log.record_at(position)

    def replace(self, position: Position, value: bytes) -> bool:
        """Replace the value of a record."""
        return self._log.replace_value(position, value)

    def overwrite(self) -> None:
        """Do nothing: memory keeps no replaced bytes."""

    def kept_until(self, log_time: int) -> int:
        """Return 0: `replace` removes the bytes."""
        return 0
