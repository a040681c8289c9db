"""The byte budget for batches in flight. All streams and calls share the budget, so memory is bounded."""

from __future__ import annotations

import threading


class ByteBudget:
    """The byte budget for batches in flight.

    A batch that is larger than the whole budget fits only while no other batch is in flight.
    """

    def __init__(self, total_bytes: int) -> None:
        self._total = total_bytes
        self._taken = 0
        self._changed = threading.Condition()

    def take(self, size: int, timeout_s: float | None = None) -> bool:
        """Wait until `size` bytes fit into the budget, then take these bytes and return True.

        After the time-out, return False and take nothing.
        """
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
        """The number of bytes that are in flight now."""
        return self._taken
