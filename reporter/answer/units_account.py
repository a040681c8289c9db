"""A merchant's report units in a reporter: a bucket for all reporters together, and an allowance for each period.

Every reporter keeps the merchant's whole bucket, and charges it with what the other reporters say that they spent
(hitmesh.ports.ReporterReports). Until a reporter knows what the others spend now, it spends at most its part of the
units that remain, in each period. The time is an argument, in ms of a monotonic clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hitmesh.model.quotas import NO_QUOTA, UnitsSpent
from hitmesh.model.token_bucket import TokenBucket

WINDOW_S: Final = 60
# Of the units that remain, all reporters together spend at most this part in a period. What the others spent is known a
# period later; with a part of 1, spending would swing between zero and twice the quota.
_PART: Final = 0.5
# A count is reported for so many periods after its last change, so that every reporter sees its last value.
KEPT_PERIODS: Final = 10
MAX_SEEN: Final = 256


class UnitsAccount:
    """The bucket and the counts of a merchant. Not thread-safe.

    Args:
        merchant: the merchant's full name.
        units_min: the quota, in units per minute; also the capacity of the bucket.
        now_ms: the current time.
        others: the latest reports from other reporters about this merchant. The bucket begins at the lowest level in
            the reports; without reports, the bucket is full.
        kept_periods: periods after its last change for which a count is reported.
        max_seen: maximum number of reporters whose latest reports are kept; the oldest report is forgotten first.
    """

    __slots__ = (
        "_allowance",
        "_assumed",
        "_assumed_periods",
        "_bucket",
        "_heard",
        "_idle_periods",
        "_kept_periods",
        "_max_seen",
        "_period",
        "_seen",
        "_since",
        "_spent",
        "_used",
        "merchant",
        "quota",
        "read_at_ms",
        "units_min",
    )

    def __init__(
        self,
        merchant: str,
        units_min: int,
        now_ms: int,
        others: Mapping[str, UnitsSpent],
        *,
        kept_periods: int = KEPT_PERIODS,
        max_seen: int = MAX_SEEN,
    ) -> None:
        self.merchant = merchant
        self._kept_periods, self._max_seen = kept_periods, max_seen
        self.units_min = units_min
        self.read_at_ms, self.quota = now_ms, NO_QUOTA
        self._bucket = TokenBucket(max(1, units_min // WINDOW_S), units_min, now_ms)
        self._seen = dict(others)
        self._lower_to(min((use.level for use in others.values()), default=units_min), now_ms)
        self._since, self._spent, self._idle_periods = now_ms, 0, 0
        self._period, self._used, self._allowance = -1, 0, 0
        # Charged by assume_spent and not yet reported; the reporters that have reported since.
        self._assumed, self._assumed_periods = 0, 0
        self._heard: set[str] = set()

    def wait_ms(self, units: int, now_ms: int, live: int, period_ms: int) -> int:
        """Return the ms after which a charge may pass; 0 = now.

        Args:
            units: the charge.
            now_ms: the current time.
            live: live reporters, including this one. A single reporter may spend everything that remains.
            period_ms: time between two exchanges.
        """
        wait_ms = self._bucket.wait_ms(units, now_ms)
        if live == 1:
            return wait_ms
        period = now_ms // period_ms
        if period != self._period:
            self._period, self._used = period, 0
            self._allowance = int(self._bucket.tokens(now_ms) * _PART / live)
        if self._used and self._used + units > self._allowance:
            return max(wait_ms, (period + 1) * period_ms - now_ms)
        return wait_ms

    def charge(self, units: int, now_ms: int) -> None:
        """Charge units; negative units are given back."""
        self._used += units
        self._spent += units
        self._idle_periods = 0
        self._change(units, now_ms)

    def tokens(self, now_ms: int) -> int:
        """Return the units that remain for all reporters together."""
        return self._bucket.tokens(now_ms)

    def resize(self, units_min: int, now_ms: int) -> None:
        """Adopt a changed quota."""
        if units_min != self.units_min:
            self.units_min = units_min
            self._bucket.resize(max(1, units_min // WINDOW_S), units_min, now_ms)

    def ended_period(self, now_ms: int) -> UnitsSpent | None:
        """Return what this reporter spent; None if all reporters know that nothing is missing from the bucket."""
        level = self._bucket.level(now_ms)
        self._idle_periods += 1
        self._assumed_periods += 1
        if self._assumed_periods > self._kept_periods:
            self._assumed = 0
        if self._idle_periods > self._kept_periods and level >= self.units_min:
            self._since, self._spent = now_ms, 0
            return None
        return UnitsSpent(self.merchant, self._since, self._spent, level)

    def learn(self, others: Mapping[str, UnitsSpent], now_ms: int) -> None:
        """Charge what other reporters spent since their last reports.

        After a period without reports, a reporter's first new report is charged less what `assume_spent` has charged.
        """
        for reporter, use in others.items():
            seen = self._seen.pop(reporter, None)
            if seen is not None and seen.since == use.since:
                spent = use.units - seen.units
            else:  # the count may be old, but at most what is missing from the bucket still matters
                spent = max(0, min(use.units, self.units_min - use.level))
            if use != seen:  # otherwise it may be the report from before the period
                spent -= self._already_charged(reporter, spent)
            self._change(spent, now_ms)
            self._seen[reporter] = use
        while len(self._seen) > self._max_seen:
            del self._seen[next(iter(self._seen))]

    def assume_spent(self, elapsed_ms: int, live: int, now_ms: int) -> None:
        """Charge the equal part of the quota for every other reporter, because their reports are unavailable."""
        units = self.units_min * elapsed_ms * (live - 1) // (live * WINDOW_S * 1_000)
        self._change(units, now_ms)
        self._assumed, self._assumed_periods = self._assumed + units, 0
        self._heard.clear()

    def _already_charged(self, reporter: str, spent: int) -> int:
        """Return the part of a reporter's newly reported units that `assume_spent` has charged; 0 after its first."""
        if not self._assumed or reporter in self._heard:
            return 0
        self._heard.add(reporter)
        covered = min(self._assumed, max(0, spent))
        self._assumed -= covered
        return covered

    def _change(self, units: int, now_ms: int) -> None:
        if units < 0:
            self._bucket.give_back(-units)
        else:
            self._bucket.charge(units, now_ms)

    def _lower_to(self, level: int, now_ms: int) -> None:
        self._bucket.charge(max(0, self._bucket.level(now_ms) - level), now_ms)
