"""Days whose visits may change with hits that wait for settlement (rule S9). Knows neither hits nor stores."""

from __future__ import annotations

from collections.abc import Callable


def days_with_provisional_visits(waiting: Callable[[int, int], set[int]], first_day: int, end_day: int) -> set[int]:
    """Return the days of [first_day, end_day) with a visit that a hit may belong to which waits for settlement.

    A visit belongs to the day on which it began, and lasts 24 h at most (rule S5): it may have begun on the day before
    the hit, or begin on the day after where the hit parts what was one visit.

    Args:
        waiting: days of [first, end) that have hits which wait (`Ledger.waiting` of the site).
        first_day: days since 1970-01-01.
        end_day: the same, excluded.
    """
    near = {day + by for day in waiting(first_day - 1, end_day + 1) for by in (-1, 0, 1)}
    return {day for day in near if first_day <= day < end_day}
