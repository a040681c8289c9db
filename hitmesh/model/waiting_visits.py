"""Days whose visits may change because hits wait for settlement (rule S9)."""

from __future__ import annotations

from collections.abc import Callable


def days_with_provisional_visits(waiting: Callable[[int, int], set[int]], first_day: int, end_day: int) -> set[int]:
    """Return the days of [first_day, end_day) whose visits may change when a waiting hit is settled.

    A visit belongs to the day on which it begins, and lasts at most 24 h (rule S5). A hit that waits for settlement may
    therefore belong to a visit that began on the day before. If the hit splits a visit, the second part may begin on
    the day after the hit.

    Args:
        waiting: returns the days in a range [first_day, end_day) that have waiting hits (`Ledger.waiting`, for a site).
        first_day: first day, as days since 1970-01-01.
        end_day: the day after the last day, as days since 1970-01-01.

    Example:
        >>> sorted(days_with_provisional_visits(lambda first_day, end_day: {20_758}, 20_758, 20_765))
        [20758, 20759]
    """
    near = {day + by for day in waiting(first_day - 1, end_day + 1) for by in (-1, 0, 1)}
    return {day for day in near if first_day <= day < end_day}
