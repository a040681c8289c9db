"""Decide by log time when a hit is late (rule T4) and when a UTC day is closed (architecture A8).

Processors and reporters must use the same limits. A day closes when log time is 26 hours after the day's end: 24 h for
the longest visit, 1 h for the allowed lateness, and a margin of 1 h. When a day is closed, the stream can no longer
change the day. Settlement recomputes each closed day from raw hits.
"""

from __future__ import annotations

from hitmesh.model.limits import CLOSED_AFTER_MS, LATENESS_MS
from hitmesh.model.zones import DAY_MS


def is_closed(day: int, log_time: int) -> bool:
    """Return whether a UTC day (days since 1970-01-01) is closed for a record with this log time in ms.

    Example:
        >>> closes_at = 2 * DAY_MS + 26 * 3_600_000  # of day 1 (rule T4)
        >>> is_closed(1, closes_at), is_closed(1, closes_at + 1)
        (False, True)
    """
    return log_time > (day + 1) * DAY_MS + CLOSED_AFTER_MS


def visits_wait_until(log_time: int) -> int:
    """Return the earliest event time, in UTC ms, of a hit that is on time at this log time.

    For a partition whose log time is ahead of the clock, reports show the returned event time. If log time is ahead of
    the clock, log time stops until the clock has caught up. While log time stands still, hits with an event time before
    the returned time are late.

    Example:
        >>> visits_wait_until(10 * 3_600_000) // 3_600_000  # 09:00 at a log time of 10:00 (rule T4)
        9
    """
    return log_time - LATENESS_MS


def first_open_day(log_time: int) -> int:
    """Return the first UTC day that is not closed at a log time in ms; 0 if no day is closed yet.

    Example:
        >>> first_open_day(2 * DAY_MS + 26 * 3_600_000), first_open_day(2 * DAY_MS + 26 * 3_600_000 + 1)
        (1, 2)
    """
    return max(0, (log_time - CLOSED_AFTER_MS - 1) // DAY_MS)
