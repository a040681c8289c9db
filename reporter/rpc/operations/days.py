"""Choose the UTC days that an answer about a site's bookkeeping lists: the requested range, or the latest days."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from hitmesh.model.days import day_of
from hitmesh.model.errors import RefusedError

DEFAULT_DAYS: Final = 60
MAX_DAYS: Final = 400
# Bounds that include every possible day of a hit.
FIRST_DAY: Final = 0
END_DAY: Final = 1 << 24


def listed_days(days: Iterable[int], since: str, until: str) -> list[int]:
    """Return the days to list, ascending: with `since` the last 400 days in the range, otherwise the last 60.

    Args:
        days: all UTC days with data.
        since: first date as "2026-11-01", or empty.
        until: last date, inclusive, or empty.

    Raises:
        RefusedError: a text is not a date, or the range is empty.
    """
    first = day_of("since", since) if since else FIRST_DAY
    last = day_of("until", until) if until else END_DAY
    if first > last:
        raise RefusedError(f"since {since} is after until {until}: the range is empty", field="since")
    inside = sorted(day for day in days if first <= day <= last)
    return inside[-(MAX_DAYS if since else DEFAULT_DAYS) :]
