"""The byte budget for batches in flight, shared by all streams and calls, so that memory is bounded."""

from __future__ import annotations

import threading


class ByteBudget:
    """A budget of bytes. A batch larger than the whole budget fits only when nothing else is in flight."""

    def __init__(self, total_bytes: int) -> None:
        self._total = total_bytes
        self._taken = 0
        self._changed = threading.Condition()

    def take(self, size: int, timeout_s: float | None = None) -> bool:
        """Wait until `size` bytes fit, and take them; after the time-out, take nothing and return False."""
        with self._changed:
            fits = self._changed.wait_for(lambda: not self._taken or self._taken + size <= self._total, timeout_s)
            if fits:
                self._taken += size
            return fits

    def give(self, size: int) -> None:
        """Return `size` bytes to the budget."""
        with self._changed:
            self._taken -= size
            self._changed.notify_all()

    @property
    def taken(self) -> int:
        """Bytes in flight now."""
        return self._taken
