"""The clock: only this module reads the time."""

from __future__ import annotations

import time


class SystemClock:
    """The machine's clock."""

    def now(self) -> int:
        """Return the current time in UTC ms."""
        return time.time_ns() // 1_000_000
