"""How many bytes of batches all streams and calls may have in flight together, so that memory is bounded."""

from __future__ import annotations

import threading


class ByteBudget:
    """A counted budget. A taker larger than the whole budget gets it alone."""

    def __init__(self, total_bytes: int) -> None:
        self._total = total_bytes
        self._taken = 0
        self._changed = threading.Condition()

    def take(self, size: int, timeout_s: float | None = None) -> bool:
        """Waits for room and takes it; returns False, with nothing taken, when there was none within the time."""
        with self._changed:
            fits = self._changed.wait_for(lambda: not self._taken or self._taken + size <= self._total, timeout_s)
            if fits:
                self._taken += size
            return fits

    def give(self, size: int) -> None:
        """Gives back what was taken."""
        with self._changed:
            self._taken -= size
            self._changed.notify_all()

    @property
    def taken(self) -> int:
        """How many bytes are taken now."""
        return self._taken
