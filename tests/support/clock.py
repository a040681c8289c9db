"""A clock that a test moves."""

from __future__ import annotations

import threading


class ManualClock:
    """A clock that moves only by `advance`; thread-safe."""

    def __init__(self, now: int) -> None:
        self._now = now
        self._lock = threading.Lock()

    def now(self) -> int:
        """Return the current time in UTC ms."""
        with self._lock:
            return self._now

    def advance(self, ms: int) -> None:
        """Move the clock forward by `ms`, at least 0."""
        if ms < 0:
            raise ValueError(f"a clock cannot go back: {ms} ms; the rule is ms >= 0")
        with self._lock:
            self._now += ms
