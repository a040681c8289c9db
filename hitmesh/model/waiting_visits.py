"""Days whose visits may change because hits wait for settlement (rule S9)."""

from __future__ import annotations

from collections.abc import Callable


def days_with_provisional_visits(waiting: Callable[[int, int], set[int]], first_day: int, end_day: int) -> set[int]:
    """Return the days of [first_day, end_day) with a visit that a hit waiting for settlement may belong to.

    A visit belongs to the day on which it began, and lasts 24 h at most (rule S5). So the visit may have begun on the
    day before the hit, or begin on the day after when the hit splits an existing visit.

    Args:
        waiting: days of [first, end) that have waiting hits (the site's `Ledger.waiting`).
        first_day: days since 1970-01-01.
        end_day: likewise, excluded.

    Example:
        >>> sorted(days_with_provisional_visits(lambda first_day, end_day: {20_758}, 20_758, 20_765))
        [20758, 20759]
    """
    near = {day + by for day in waiting(first_day - 1, end_day + 1) for by in (-1, 0, 1)}
    return {day for day in near if first_day <= day < end_day}
