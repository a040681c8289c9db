"""The system clock. All wall-clock times that influence a result come from this clock."""

from __future__ import annotations

import time


class SystemClock:
    """Reads the clock of the machine."""

    def now(self) -> int:
        """Return the current time in UTC ms."""
        return time.time_ns() // 1_000_000
