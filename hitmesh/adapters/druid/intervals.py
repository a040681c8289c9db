"""Compute the intervals that contain progress marks, in Druid's notation.

Pure functions.
"""

from __future__ import annotations

from typing import Final

from hitmesh.model.days import iso_second
from hitmesh.model.limits import CELL_MS
from hitmesh.model.zones import DAY_MS

_DAYS_AHEAD: Final = 1  # margin in days, because log time may come from a clock that is ahead of this machine's clock
_MAX_DAYS: Final = 32
_FOR_EVER: Final = "2100-01-01"


def mark_intervals(first_day: int, now_ms: int) -> list[str]:
    """Return the intervals that contain all progress marks for the day `first_day` and later days.

    A mark's time is the start of its UTC day. The intervals therefore cover only the first 15 minutes of each day, so
    that a search passes over few rows. If there are more than 32 days, a single interval covers all days.
    """
    end_day = now_ms // DAY_MS + _DAYS_AHEAD + 1
    if end_day - first_day > _MAX_DAYS:
        return [f"{iso_second(first_day * DAY_MS)}/{_FOR_EVER}"]
    return [f"{iso_second(day * DAY_MS)}/{iso_second(day * DAY_MS + CELL_MS)}" for day in range(first_day, end_day)]
