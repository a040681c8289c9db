"""When a UTC day is closed (decision A8): the stream can no longer change it, and settlement recomputes it from raw.

Decides the one number that collectors, processors and reports must share: 26 hours after its end, which is the cap of
a visit (24 h), the allowed lateness (1 h) and a margin. Knows no hits and no stores.
"""

from __future__ import annotations

from typing import Final

from hitmesh.zones import DAY_MS

CLOSED_AFTER_MS: Final = 26 * 3_600_000


def is_closed(day: int, log_time: int) -> bool:
    """Return whether a UTC day (days since 1970-01-01) is closed for a record of that log time in ms."""
    return log_time > (day + 1) * DAY_MS + CLOSED_AFTER_MS


def first_open_day(log_time: int) -> int:
    """Return the first UTC day that is not closed at a log time in ms; 0 before there is one."""
    return max(0, (log_time - CLOSED_AFTER_MS - 1) // DAY_MS)
