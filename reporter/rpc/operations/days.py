"""Which UTC days an answer about a site's bookkeeping lists: the asked range, else the last ones; never too many."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from hitmesh.model.days import day_of
from hitmesh.model.errors import RefusedError

DEFAULT_DAYS: Final = 60
MAX_DAYS: Final = 400
# Every day that a hit can have.
FIRST_DAY: Final = 0
END_DAY: Final = 1 << 24


def listed_days(days: Iterable[int], since: str, until: str) -> list[int]:
    """Returns which of the days are listed, ascending: with a range at most 400, without one the last 60.

    Args:
        days: UTC days there are.
        since: first date as "2026-11-01", or empty.
        until: last date, included, or empty.

    Raises:
        RefusedError: a text is no date, or the range is empty.
    """
    first = day_of("since", since) if since else FIRST_DAY
    last = day_of("until", until) if until else END_DAY
    if first > last:
        raise RefusedError(f"since {since} is after until {until}: the range is empty", field="since")
    inside = sorted(day for day in days if first <= day <= last)
    return inside[-(MAX_DAYS if since else DEFAULT_DAYS) :]
