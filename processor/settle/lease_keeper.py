"""Keeps a settler's leases: a separate thread acquires, renews and releases the leases.

A settlement may compute for minutes, so the settler's own thread cannot renew the leases in time. At the beginning of
each pass, the settler checks which buckets are leased. Before each publication, the settler checks whether the lease
has expired. If another settler should take over a bucket, the bucket is released when the current pass ends.
docs/decisions/0082-settlers-in-parallel.md gives the reasons.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from hitmesh.model.errors import RetryError
from hitmesh.model.leases import Lease
from hitmesh.model.site_buckets import EVERY_BUCKET, SITE_BUCKETS, site_bucket
from hitmesh.ports import Leases
from hitmesh.runtime.logs import logger
from processor.settle.division import Division, Member

LEASE_MS: Final = 15_000
_SLOTS: Final = tuple(f"settlers/{number}" for number in range(SITE_BUCKETS))
_BUCKETS: Final = {f"buckets/{number}": number for number in range(SITE_BUCKETS)}
_NAMES: Final = {number: name for name, number in _BUCKETS.items()}
_OTHER_PROCESS: Final = (
    "another process took the lease, or the lease ended: give each process a unique HITMESH_PROCESSOR_NODE"
)


@dataclass(frozen=True, slots=True)
class LeasePace:
    """How long a settler's leases are.

    Attributes:
        length_ms: lease length. If a settler dies, other settlers take over within `length_ms` plus a few seconds.
        much_site_days: if at least this many site-days wait for a settler, the settler gives some site-days to a
            settler with fewer waiting site-days.
    """

    length_ms: int = LEASE_MS
    much_site_days: int = 64

    @property
    def turn_ms(self) -> int:
        """The interval between two renewals. The interval is so short that a lease outlasts two failed renewals."""
        return self.length_ms // 3

    @property
    def margin_ms(self) -> int:
        """If a lease's remaining time is shorter than this, no publication may begin."""
        return self.length_ms // 5


@dataclass(frozen=True, slots=True)
class _Held:
    lease: Lease
    until_ms: float


class LeaseKeeper:
    """The sites on which a settler works: all sites in the buckets that the settler leases.

    Only the settler's thread may call `begin`, `holds` and `note`.

    Args:
        leases: the stored leases.
        owner: this settler's name. The name is unique among running settlers, and stays the same after a restart.
        pace: the lease lengths.
        monotonic_ms: a clock in ms that is never adjusted.
    """

    def __init__(self, leases: Leases, owner: str, pace: LeasePace, monotonic_ms: Callable[[], float]) -> None:
        self._leases = leases
        self._owner = owner
        self._pace = pace
        self._now = monotonic_ms
        self._lock = threading.Lock()
        self._slot: Lease | None = None
        self._held: dict[int, _Held] = {}
        self._in_use: frozenset[int] = frozenset()
        self._leaving: frozenset[int] = frozenset()
        self._left: dict[int, float] = {}
        self._loads: dict[str, Mapping[int, int]] = {}
        self._is_closed = False

    def begin(self) -> frozenset[int]:
        """Begin a settlement pass or a reprocessing portion, which ends when `begin` is called next.

        Return the buckets whose site-days the settler may work on.
        """
        with self._lock:
            running = frozenset(bucket for bucket in self._held if self._runs(bucket))
            self._in_use = running - self._leaving
            return self._in_use

    def holds(self, site: str) -> bool:
        """Return whether the lease on the site's bucket will last long enough for a publication."""
        with self._lock:
            return self._runs(site_bucket(site))

    def note(self, work: str, loads: Mapping[int, int]) -> None:
        """Record, for a kind of work, how many site-days wait in each bucket."""
        with self._lock:
            self._loads[work] = dict(loads)

    def buckets(self) -> frozenset[int]:
        """Return the leased buckets."""
        with self._lock:
            return frozenset(self._held)

    def run(self, stop: threading.Event) -> None:
        """Call `turn` at intervals until `stop` is set.

        While the store is unavailable, the leases run out and no site-day is settled.
        """
        while True:
            try:
                self.turn()
            except RetryError as error:
                logger().warning("leases_wait", owner=self._owner, reason=error.reason, message=error.message)
            if stop.wait(self._pace.turn_ms / 1_000):
                return

    def turn(self) -> None:
        """Renew the leases, then acquire and give up buckets as `Division` requires.

        Raises:
            RetryError: the store is unavailable.
        """
        if self._is_closed:
            return
        loads = self._renew()
        found = self._leases.held([*_SLOTS, *_BUCKETS])
        self._take_slot([lease for lease in found if lease.name not in _BUCKETS])
        if self._slot is None:
            return
        division = self._division(found, sum(loads.values()))
        self._acquire(division, found)
        self._leave(division.to_leave(loads))
        self._release_left()

    def close(self) -> None:
        """Release all leases, so that another settler can continue immediately.

        Before this call, the settler must have stopped.
        """
        with self._lock:
            self._is_closed = True
            leases = [*self._all_leases()]
            self._slot, self._held = None, {}
        try:
            self._leases.release(leases)
        except RetryError as error:
            logger().warning("leases_end_by_time", owner=self._owner, message=error.message)

    def _runs(self, bucket: int) -> bool:
        held = self._held.get(bucket)
        return held is not None and held.until_ms - self._pace.margin_ms > self._now()

    def _all_leases(self) -> Iterable[Lease]:
        return (*([self._slot] if self._slot else ()), *(held.lease for held in self._held.values()))

    def _renew(self) -> Counter[int]:
        """Renew all leases with the current loads. Return the leased buckets' loads."""
        with self._lock:
            loads = Counter[int]()
            for noted in self._loads.values():
                loads.update({bucket: count for bucket, count in noted.items() if bucket in self._held})
            of_leases = {name: loads[bucket] for name, bucket in _BUCKETS.items()}
            leases = [replace(lease, load=of_leases.get(lease.name, loads.total())) for lease in self._all_leases()]
        begun = self._now()
        renewed = {lease.name: lease for lease in self._leases.renew(leases, self._pace.length_ms)}
        lost = [lease.name for lease in leases if lease.name not in renewed]
        with self._lock:
            until_ms = begun + self._pace.length_ms
            self._slot = renewed.get(self._slot.name) if self._slot else None
            self._held = {
                bucket: _Held(renewed[_NAMES[bucket]], until_ms) for bucket in self._held if _NAMES[bucket] in renewed
            }
        if lost:
            logger().warning("leases_lost", owner=self._owner, leases=lost, message=_OTHER_PROCESS)
        return loads

    def _take_slot(self, slots: Sequence[Lease]) -> None:
        """Acquire the lease on a slot.

        Each settler needs a slot, and there are SITE_BUCKETS slots. Buckets are divided only among settlers that have a
        slot.
        """
        if self._slot is not None:
            return
        mine = [lease.name for lease in slots if lease.owner == self._owner]
        taken = {lease.name for lease in slots}
        free = [*mine, *(name for name in _SLOTS if name not in taken)]
        acquired = self._acquired(free[:1])
        if not free:
            logger().warning("no_slot_for_settler", owner=self._owner, limit=SITE_BUCKETS)
        with self._lock:
            self._slot = next(iter(acquired), None)

    def _division(self, found: Sequence[Lease], load: int) -> Division:
        owners = {lease.owner: lease.load for lease in found if lease.name not in _BUCKETS}
        buckets: dict[str, set[int]] = {owner: set() for owner in owners}
        for lease in found:
            if lease.name in _BUCKETS and lease.owner in buckets:
                buckets[lease.owner].add(_BUCKETS[lease.name])
        others = [Member(owner, frozenset(buckets[owner]), owners[owner]) for owner in owners if owner != self._owner]
        return Division(Member(self._owner, self.buckets(), load), others, self._pace.much_site_days)

    def _acquire(self, division: Division, found: Sequence[Lease]) -> None:
        now = self._now()
        taken = {_BUCKETS[lease.name] for lease in found if lease.name in _BUCKETS and lease.owner != self._owner}
        self._left = {bucket: until for bucket, until in self._left.items() if until > now}
        free = EVERY_BUCKET - taken - division.me.buckets - self._left.keys()
        acquired = self._acquired([_NAMES[bucket] for bucket in division.to_acquire(free)])
        with self._lock:
            self._held |= {_BUCKETS[lease.name]: _Held(lease, now + self._pace.length_ms) for lease in acquired}
        if acquired:
            logger().info("leases_acquired", owner=self._owner, leases=[lease.name for lease in acquired])

    def _acquired(self, names: Sequence[str]) -> Sequence[Lease]:
        """Acquire leases, and return the acquired leases.

        If the keeper was closed while the leases were acquired, release the leases again.
        """
        acquired = self._leases.acquire(names, self._owner, self._pace.length_ms)
        if not self._is_closed:
            return acquired
        self._leases.release(acquired)
        return []

    def _leave(self, buckets: frozenset[int]) -> None:
        """Choose the buckets to release.

        After a release, choose no further buckets until other settlers have had time to acquire the released buckets.
        """
        with self._lock:
            if not self._left and not self._leaving:
                self._leaving = buckets

    def _release_left(self) -> None:
        """Release each bucket that was chosen for release and that the current pass does not use."""
        with self._lock:
            unused = self._leaving - self._in_use
            leases = [self._held.pop(bucket).lease for bucket in unused if bucket in self._held]
            self._leaving -= unused
            # At `until_ms`, another settler will have acquired the buckets and stored its new load.
            until_ms = self._now() + self._pace.length_ms
            self._left |= dict.fromkeys(unused, until_ms)
        if leases:
            self._leases.release(leases)
            logger().info("leases_left", owner=self._owner, leases=[lease.name for lease in leases])
