"""The quota on report units per minute: how much a merchant's reports may cost in this reporter.

A unit is about a microsecond. A report costs REPORT_UNITS, one unit per value (buckets × metrics × sites), and
one unit per row that the store returns. Values are known and charged before anything is read; rows are charged
afterwards. A report whose cost exceeds the remaining units therefore passes if enough units remain for its values, and
the next reports wait until the debt is paid back.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hitmesh.model.errors import QuotaExceeded, Unavailable
from hitmesh.model.quotas import QuotaKind
from hitmesh.model.token_bucket import TokenBucket
from hitmesh.ports import SiteDirectory

REPORT_UNITS: Final = 2_000
REPORT_UNITS_MIN: Final = 30_000_000
"""Default quota: 15,000 small reports a minute."""
MAX_MERCHANTS: Final = 10_000
_WINDOW_S: Final = 60
_QUOTA_FOR_MS: Final = 5_000


def _monotonic_ms() -> int:
    return time.monotonic_ns() // 1_000_000


@dataclass(slots=True)
class _Account:
    bucket: TokenBucket
    units_min: int
    read_at_ms: int


class ReportBudget:
    """A bucket with report units per merchant, full at first. Thread-safe.

    Args:
        units_min: default quota, in units per minute. A bucket holds the units for a minute.
        now_ms: a monotonic clock, in ms.
        max_merchants: maximum number of merchants with a bucket. The merchant that was charged least recently loses its
            bucket.
    """

    def __init__(
        self,
        units_min: int = REPORT_UNITS_MIN,
        now_ms: Callable[[], int] = _monotonic_ms,
        *,
        max_merchants: int = MAX_MERCHANTS,
    ) -> None:
        self._units_min = units_min
        self._now_ms = now_ms
        self._max_merchants = max_merchants
        self._lock = threading.Lock()
        self._accounts: OrderedDict[str, _Account] = OrderedDict()

    def charge(self, directory: SiteDirectory, merchant: str, values: int) -> int:
        """Charge the cost that is known before the report is read. Return the charged units.

        Raises:
            QuotaExceeded: the merchant's units are used up; nothing was charged.
        """
        units = REPORT_UNITS + values
        self._adopt_quota(directory, merchant)
        with self._lock:
            account, now_ms = self._accounts[merchant], self._now_ms()
            wait_ms = account.bucket.wait_ms(units, now_ms)
            if not wait_ms:
                account.bucket.charge(units, now_ms)
                return units
        raise _exceeded(merchant, account.units_min, wait_ms / 1_000)

    def add(self, merchant: str, units: int) -> None:
        """Charge units that were used. Negative units are given back, because a store did not answer."""
        with self._lock:
            account = self._accounts.get(merchant)
            if account is not None and units < 0:
                account.bucket.give_back(-units)
            elif account is not None:
                account.bucket.charge(units, self._now_ms())

    def headers(self, merchant: str) -> tuple[tuple[str, str], ...]:
        """Return the headers `ratelimit-policy` and `ratelimit` for an answered report of this merchant."""
        with self._lock:
            account = self._accounts.get(merchant)
            if account is None:
                return ()
            left = account.bucket.tokens(self._now_ms())
            return (
                ("ratelimit-policy", f'"{QuotaKind.REPORT_UNITS}";q={account.units_min};w={_WINDOW_S}'),
                ("ratelimit", f'"{QuotaKind.REPORT_UNITS}";r={left};t={_WINDOW_S}'),
            )

    def _adopt_quota(self, directory: SiteDirectory, merchant: str) -> None:
        """Read the merchant's quota, at most every 5 s. While the store is unavailable, the last quota applies."""
        with self._lock:
            account, now_ms = self._accounts.get(merchant), self._now_ms()
            if account is not None and now_ms - account.read_at_ms < _QUOTA_FOR_MS:
                self._accounts.move_to_end(merchant)
                return
        try:
            stored = directory.quota(merchant).report_units_min
        except Unavailable:
            stored = None if account is None else account.units_min
        units_min = self._units_min if stored is None else stored
        rate_s = max(1, units_min // _WINDOW_S)
        with self._lock:
            account = self._accounts.get(merchant)
            if account is None:
                account = self._accounts[merchant] = _Account(TokenBucket(rate_s, units_min, now_ms), units_min, now_ms)
                if len(self._accounts) > self._max_merchants:
                    self._accounts.popitem(last=False)
            elif account.units_min != units_min:
                account.bucket.resize(rate_s, units_min, now_ms)
            account.units_min, account.read_at_ms = units_min, now_ms


def _exceeded(merchant: str, limit: int, seconds: float) -> QuotaExceeded:
    subject, window_s, wait_s = merchant, _WINDOW_S, f"{seconds:.3f}"
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
