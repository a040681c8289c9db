"""A clock that a test advances."""

from __future__ import annotations

import threading


class ManualClock:
    """A thread-safe clock whose time changes only by `advance`."""

    def __init__(self, now: int) -> None:
        self._now = now
        self._lock = threading.Lock()

    def now(self) -> int:
        """Return the current time in UTC ms."""
        with self._lock:
            return self._now

    def advance(self, ms: int) -> None:
        """Advance the clock by `ms`, which must not be negative."""
        if ms < 0:
            raise ValueError(f"a clock cannot go back: {ms} ms; the rule is ms >= 0")
        with self._lock:
            self._now += ms
