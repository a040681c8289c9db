"""Keep leases in memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from hitmesh.model.leases import Lease
from hitmesh.ports import Clock


class MemoryLeases:
    """Implements the port Leases in memory.

    Args:
        clock: decides when a lease has expired.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._leases: dict[str, tuple[Lease, int]] = {}
        self._last_token = 0

    def acquire(self, names: Sequence[str], owner: str, length_ms: int) -> Sequence[Lease]:
        """Acquire leases on names that are free or already held by this owner; return the acquired leases."""
        with self._lock:
            now, acquired = self._clock.now(), []
            for name in names:
                there = self._held(name, now)
                if there is None or there.owner == owner:
                    self._last_token += 1
                    acquired.append(Lease(name, owner, self._last_token))
                    self._leases[name] = (acquired[-1], now + length_ms)
            return acquired

    def renew(self, leases: Sequence[Lease], length_ms: int) -> Sequence[Lease]:
        """Extend the leases that have not expired; return the extended leases.

        The call also stores each lease's `load`, a number that other owners read.
        """
        with self._lock:
            now = self._clock.now()
            renewed = [lease for lease in leases if _is_same(self._held(lease.name, now), lease)]
            self._leases |= {lease.name: (lease, now + length_ms) for lease in renewed}
            return renewed

    def release(self, leases: Sequence[Lease]) -> None:
        """End leases; idempotent. If a name was acquired again with another token, the newer lease does not end."""
        with self._lock:
            for lease in leases:
                if _is_same(self._held(lease.name, self._clock.now()), lease):
                    del self._leases[lease.name]

    def held(self, names: Sequence[str]) -> Sequence[Lease]:
        """Return the leases on these names that have not expired, in the order of `names`."""
        with self._lock:
            now = self._clock.now()
            return [lease for name in names if (lease := self._held(name, now)) is not None]

    def _held(self, name: str, now: int) -> Lease | None:
        lease, expires_at = self._leases.get(name, (None, 0))
        return lease if expires_at > now else None


def _is_same(there: Lease | None, lease: Lease) -> bool:
    return there is not None and there.token == lease.token
