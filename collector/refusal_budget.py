"""The budget for work on refused hits. Each sender has a token bucket; refused bytes, hits and calls drain the bucket.

A unit is the work for one refused byte. All senders without a known key share a bucket, because all hits from these
senders are refused. A browser key is public. Each client address that uses a browser key therefore has its own bucket.
In addition, all browser keys share a bucket. The charge does not depend on the reason for a refusal. The budget is
thread-safe.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from collector.token_buckets import TokenBuckets

# Units of work that a call and a hit cost, in addition to their bytes. By measurement, a unit takes about 0.2 µs.
CALL_UNITS: Final = 4_096
HIT_UNITS: Final = 256
# A bucket's capacity (BURST_S) and maximum debt (MAX_DEBT_S), both in seconds of refill. In one second, a bucket is
# refilled with `units_s` units.
BURST_S: Final = 4.0
MAX_DEBT_S: Final = 30.0
MAX_SENDERS: Final = 4_096


class RefusedSender(NamedTuple):
    """A charged sender; `key` is "" for all senders without a known key."""

    key: str
    address: str


KEYLESS: Final = RefusedSender("", "")
_ALL_BROWSERS: Final = RefusedSender("", "*")


class RefusalBudget:
    """The token buckets for refused work, each refilled with `units_s` units a second."""

    def __init__(
        self, units_s: float, now_s: Callable[[], float] = time.monotonic, *, max_senders: int = MAX_SENDERS
    ) -> None:
        self._units_s = units_s
        self._now_s = now_s
        self._lock = threading.Lock()
        self._buckets: TokenBuckets[RefusedSender] = TokenBuckets(units_s, BURST_S, max_senders, now_s)
        self._held: dict[RefusedSender, float] = {}  # units that are reserved for each sender, if any
        self._debts_until_s = 0.0

    @property
    def any_debt(self) -> bool:
        """Whether any bucket may be below 0, so that a sender may have to wait. The property takes no lock."""
        return self._now_s() < self._debts_until_s

    def wait_s(self, sender: RefusedSender) -> float:
        """Return the number of seconds that a sender must wait before further work; 0 = no wait.

        All browser keys share a bucket. While the shared bucket is below 0, a sender with a browser key waits if the
        sender's own bucket is less than half full.
        """
        with self._lock:
            return self._wait_s(sender)

    def hold(self, sender: RefusedSender, units: float) -> float:
        """Reserve units for work that is not done yet.

        Return 0 if the units are reserved, otherwise the seconds that the sender must wait. Nothing is reserved for a
        sender whose reservations already exceed the bucket's level. After the work, the caller must call `let_go`. If
        hits were refused, the caller must also call `charge`.
        """
        with self._lock:
            wait_s = self._wait_s(sender)
            if not wait_s:
                wait_s = max(0.0, (self._held.get(sender, 0.0) - self._buckets.level(sender)) / self._units_s)
            if not wait_s:
                self._held[sender] = self._held.get(sender, 0.0) + units
            return wait_s

    def let_go(self, sender: RefusedSender, units: float) -> None:
        """Release reserved units."""
        with self._lock:
            self._held[sender] -= units
            if self._held[sender] <= 0:
                del self._held[sender]

    def charge(self, sender: RefusedSender, units: float) -> None:
        """Subtract refused work from the sender's bucket. For a browser key, charge the shared bucket too."""
        with self._lock:
            for charged in (sender,) if sender == KEYLESS else (sender, _ALL_BROWSERS):
                level = max(self._buckets.level(charged) - units, -MAX_DEBT_S * self._units_s)
                self._buckets.set(charged, level)
                if level < 0:
                    self._debts_until_s = max(self._debts_until_s, self._now_s() - level / self._units_s)

    def _wait_s(self, sender: RefusedSender) -> float:
        level = self._buckets.level(sender)
        if sender != KEYLESS and level < self._buckets.full / 2:
            level = min(level, self._buckets.level(_ALL_BROWSERS))
        return max(0.0, -level / self._units_s)
