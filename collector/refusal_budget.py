"""How much work refusals may cost: a bucket per sender that refused bytes, hits and calls empty.

A unit is the work of a refused byte. Senders without a known key share one bucket, since nothing of theirs is ever
taken; each client address of a browser key, which is public, has its own beside one for all of them. Refuses to know
why anything was refused. Thread-safe.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

# Work beside that of the bytes, measured: about 0.2 µs a unit.
CALL_UNITS: Final = 4_096
HIT_UNITS: Final = 256
# A bucket holds so many seconds' worth, and is in debt by at most so many.
BURST_S: Final = 4.0
MAX_DEBT_S: Final = 30.0
MAX_SENDERS: Final = 4_096


class RefusedSender(NamedTuple):
    """Who is charged; the key is "" for all who have none that is known."""

    key: str
    address: str


KEYLESS: Final = RefusedSender("", "")
_ALL_BROWSERS: Final = RefusedSender("", "*")


class RefusalBudget:
    """Buckets of refused work, filled at `units_s` units a second."""

    def __init__(
        self, units_s: float, now_s: Callable[[], float] = time.monotonic, *, max_senders: int = MAX_SENDERS
    ) -> None:
        self._units_s = units_s
        self._now_s = now_s
        self._max_senders = max_senders
        self._lock = threading.Lock()
        self._buckets: OrderedDict[RefusedSender, tuple[float, float]] = OrderedDict()  # level, and when it was that
        self._held: dict[RefusedSender, float] = {}  # only what is not 0
        self._debts_until_s = 0.0

    @property
    def any_debt(self) -> bool:
        """Whether some sender may have to wait; False costs no lock."""
        return self._now_s() < self._debts_until_s

    def wait_s(self, sender: RefusedSender) -> float:
        """Return how long a sender must wait before work of theirs is looked at; 0 = not at all.

        When all browsers together are in debt, those wait of whom much was refused lately; the others do not.
        """
        with self._lock:
            return self._wait_s(sender)

    def hold(self, sender: RefusedSender, units: float) -> float:
        """Set aside what work may cost before it is done; return how long the sender must wait, 0 = not at all.

        Work is done for a sender whose bucket holds what is set aside already. After it `let_go` must be called, and
        `charge` for what was refused.
        """
        with self._lock:
            wait_s = self._wait_s(sender)
            if not wait_s:
                wait_s = max(0.0, (self._held.get(sender, 0.0) - self._level(sender)) / self._units_s)
            if not wait_s:
                self._held[sender] = self._held.get(sender, 0.0) + units
            return wait_s

    def let_go(self, sender: RefusedSender, units: float) -> None:
        """Give back what was set aside."""
        with self._lock:
            self._held[sender] -= units
            if self._held[sender] <= 0:
                del self._held[sender]

    def charge(self, sender: RefusedSender, units: float) -> None:
        """Take refused work out of the sender's bucket."""
        with self._lock:
            for charged in (sender,) if sender == KEYLESS else (sender, _ALL_BROWSERS):
                level = max(self._level(charged) - units, -MAX_DEBT_S * self._units_s)
                self._buckets[charged] = (level, self._now_s())
                self._buckets.move_to_end(charged)
                if level < 0:
                    self._debts_until_s = max(self._debts_until_s, self._now_s() - level / self._units_s)
            while len(self._buckets) > self._max_senders:
                self._buckets.popitem(last=False)

    def _wait_s(self, sender: RefusedSender) -> float:
        own = self._level(sender)
        if sender != KEYLESS and own < self._full / 2:
            own = min(own, self._level(_ALL_BROWSERS))
        return max(0.0, -own / self._units_s)

    @property
    def _full(self) -> float:
        return BURST_S * self._units_s

    def _level(self, sender: RefusedSender) -> float:
        level, at_s = self._buckets.get(sender, (self._full, 0.0))
        return min(self._full, level + (self._now_s() - at_s) * self._units_s)
