"""The quota on report units per minute: how much a merchant's reports may cost in all reporters together.

A unit is about a microsecond. A report costs REPORT_UNITS, one unit per value (buckets × metrics × sites), and
one unit per row that the store returns. Values are known and charged before anything is read; rows are charged
afterwards. A report whose cost exceeds the remaining units therefore passes if enough units remain for its values, and
the next reports wait until the debt is paid back.

Reporters learn from each other's reports what a merchant spent (reporter.answer.units_account).
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from hitmesh.model.errors import QuotaExceeded, Unavailable
from hitmesh.model.quotas import NO_QUOTA, QuotaKind, ReporterReport, UnitsSpent
from hitmesh.ports import Clock, SiteDirectory
from reporter.answer.units_account import WINDOW_S, UnitsAccount

REPORT_UNITS: Final = 2_000
REPORT_UNITS_MIN: Final = 30_000_000
"""Default quota: 15,000 small reports a minute."""
MAX_MERCHANTS: Final = 10_000
MAX_REPORTED: Final = 5_000
"""Maximum number of merchants in all reports together."""
SHARE_S: Final = 1.0
_QUOTA_FOR_MS: Final = 5_000


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class ReportBudget:
    """A bucket with report units per merchant, full at first. Thread-safe.

    Args:
        units_min: default quota, in units per minute. A bucket holds the units for a minute.
        now_ms: a monotonic clock, in ms.
        clock: the clock by which pending changes of quotas take effect.
        max_merchants: maximum number of merchants with a bucket. The merchant that was charged least recently loses its
            bucket.
        max_reported: maximum number of merchants in the reports of all reporters together.
        share_s: seconds between two calls of `report` and `share`.
    """

    def __init__(
        self,
        units_min: int = REPORT_UNITS_MIN,
        now_ms: Callable[[], int] = _monotonic_ms,
        *,
        clock: Clock,
        max_merchants: int = MAX_MERCHANTS,
        max_reported: int = MAX_REPORTED,
        share_s: float = SHARE_S,
    ) -> None:
        self._units_min = units_min
        self._now_ms = now_ms
        self._clock = clock
        self._max_merchants = max_merchants
        self._max_reported = max_reported
        self._period_ms = max(1, int(share_s * 1_000))
        self._lock = threading.Lock()
        self._accounts: OrderedDict[str, UnitsAccount] = OrderedDict()
        self._live = 1
        self._others: Mapping[str, Mapping[str, UnitsSpent]] = {}
        self._reported_ms: int | None = None
        self._is_shared = True

    def charge(self, directory: SiteDirectory, merchant: str, values: int) -> int:
        """Charge the cost that is known before the report is read. Return the charged units.

        Raises:
            QuotaExceeded: the merchant's units are used up; nothing was charged.
        """
        units = REPORT_UNITS + values
        account = self._adopt_quota(directory, merchant)
        with self._lock:
            now_ms = self._now_ms()
            wait_ms = account.wait_ms(units, now_ms, self._live, self._period_ms)
            if not wait_ms:
                account.charge(units, now_ms)
                return units
        raise _exceeded(merchant, account.units_min, wait_ms / 1_000)

    def add(self, merchant: str, units: int) -> None:
        """Charge units that were used. Negative units are given back, because a store did not answer."""
        with self._lock:
            account = self._accounts.get(merchant)
            if account is not None:
                account.charge(units, self._now_ms())

    def headers(self, merchant: str) -> tuple[tuple[str, str], ...]:
        """Return the headers `ratelimit-policy` and `ratelimit` for an answered report of this merchant."""
        with self._lock:
            account = self._accounts.get(merchant)
            if account is None:
                return ()
            left = account.tokens(self._now_ms())
            return (
                ("ratelimit-policy", f'"{QuotaKind.REPORT_UNITS}";q={account.units_min};w={WINDOW_S}'),
                ("ratelimit", f'"{QuotaKind.REPORT_UNITS}";r={left};t={WINDOW_S}'),
            )

    def report(self, reporter: str) -> ReporterReport:
        """Return what merchants spent in this reporter. Starts the next period.

        If no report of others arrived since the last call, every other reporter counts as if it spent its equal part.
        """
        with self._lock:
            now_ms = self._now_ms()
            elapsed_ms = 0 if self._reported_ms is None else now_ms - self._reported_ms
            if not self._is_shared:
                for account in self._accounts.values():
                    account.assume_spent(elapsed_ms, self._live, now_ms)
            self._reported_ms, self._is_shared = now_ms, False
            spent = [each for account in self._accounts.values() if (each := account.ended_period(now_ms)) is not None]
            most = max(1, self._max_reported // self._live)
            if len(spent) > most:  # the merchants that come closest to their quota
                spent = sorted(spent, key=lambda each: each.level / self._accounts[each.merchant].units_min)[:most]
            return ReporterReport(reporter, tuple(spent))

    def share(self, reports: Sequence[ReporterReport], reporter: str) -> None:
        """Charge what merchants spent in the other live reporters."""
        others: dict[str, dict[str, UnitsSpent]] = {}
        for report in reports:
            for use in report.spent if report.reporter != reporter else ():
                others.setdefault(use.merchant, {})[report.reporter] = use
        with self._lock:
            now_ms = self._now_ms()
            self._live = len({reporter, *(report.reporter for report in reports)})
            self._others, self._is_shared = others, True
            for merchant, uses in others.items():
                account = self._accounts.get(merchant)
                if account is not None:
                    account.learn(uses, now_ms)

    def _adopt_quota(self, directory: SiteDirectory, merchant: str) -> UnitsAccount:
        """Return the merchant's account, with a quota that is read at most every 5 s.

        While the store is unavailable, the last quota applies. Other threads may drop the account at any time.
        """
        with self._lock:
            account, now_ms = self._accounts.get(merchant), self._now_ms()
            if account is not None and now_ms - account.read_at_ms < _QUOTA_FOR_MS:
                self._accounts.move_to_end(merchant)
                return account
        try:
            quota = directory.quota(merchant)
        except Unavailable:
            quota = NO_QUOTA if account is None else account.quota
        stored = quota.at(self._clock.now()).report_units_min
        units_min = self._units_min if stored is None else stored
        with self._lock:
            account = self._accounts.get(merchant)
            if account is None:
                account = UnitsAccount(merchant, units_min, now_ms, self._others.get(merchant, {}))
                self._accounts[merchant] = account
                if len(self._accounts) > self._max_merchants:
                    self._accounts.popitem(last=False)
            account.resize(units_min, now_ms)
            account.read_at_ms, account.quota = now_ms, quota
            return account


def _exceeded(merchant: str, limit: int, seconds: float) -> QuotaExceeded:
    subject, window_s, wait_s = merchant, WINDOW_S, f"{seconds:.3f}"
    return QuotaExceeded(
        f"the reports of {subject} may cost {limit:,} units in {window_s} s: ask again in {wait_s} s, ask for shorter "
        "ranges or fewer metrics, or ask the operator for a larger quota",
        retry_after_s=seconds,
        subject=subject,
        quota=QuotaKind.REPORT_UNITS,
        limit=limit,
        window_s=window_s,
        wait_s=wait_s,
    )
