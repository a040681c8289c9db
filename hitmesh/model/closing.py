"""Decide by log time when a hit is late (rule T4) and when a UTC day is closed (decision A8).

Collectors, processors and reporters must share these limits. A separate function gives the earliest on-time event time
while log time itself is ahead of the clock. A day closes 26 hours after its end: the visit cap (24 h), the allowed
lateness (1 h) and a margin. The stream can then no longer change the day, and settlement recomputes the day from raw
hits.
"""

from __future__ import annotations

from hitmesh.model.limits import CLOSED_AFTER_MS, LATENESS_MS
from hitmesh.model.zones import DAY_MS


def is_closed(day: int, log_time: int) -> bool:
    """Return whether a UTC day (days since 1970-01-01) is closed for a record with that log time in ms.

    Example:
        >>> closes_at = 2 * DAY_MS + 26 * 3_600_000  # of day 1 (rule T4)
        >>> is_closed(1, closes_at), is_closed(1, closes_at + 1)
        (False, True)
    """
    return log_time > (day + 1) * DAY_MS + CLOSED_AFTER_MS


def visits_wait_until(log_time: int) -> int:
    """Return the earliest event time in ms that is still on time while log time is ahead and does not advance.

    Example:
        >>> visits_wait_until(10 * 3_600_000) // 3_600_000  # 09:00 at a log time of 10:00 (rule T4)
        9
    """
    return log_time - LATENESS_MS


def first_open_day(log_time: int) -> int:
    """Return the first UTC day that is not closed at a log time in ms; 0 for log times before any day closed.

    Example:
        >>> first_open_day(2 * DAY_MS + 26 * 3_600_000), first_open_day(2 * DAY_MS + 26 * 3_600_000 + 1)
        (1, 2)
    """
    return max(0, (log_time - CLOSED_AFTER_MS - 1) // DAY_MS)
