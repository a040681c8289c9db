"""Divides the site buckets among settlers: decides which buckets a settler acquires, and which it gives up.

All functions are pure. If no settler has much work, all settlers have equally many buckets. A settler with much
work gives up half of its busy buckets if another settler has little work. Both settlers then finish at about the same
time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from hitmesh.model.site_buckets import SITE_BUCKETS


@dataclass(frozen=True, slots=True)
class Member:
    """A settler as all settlers see it: owner name, leased buckets, and how many site-days wait in them."""

    owner: str
    buckets: frozenset[int]
    load: int = 0


@dataclass(frozen=True, slots=True)
class Division:
    """The bucket division, as one settler sees it.

    Attributes:
        me: the settler that decides.
        others: the other settlers.
        much: a settler has much work if at least this many site-days wait.
    """

    me: Member
    others: Sequence[Member]
    much: int

    def to_acquire(self, free: Set[int]) -> list[int]:
        """Return the free buckets that the settler should try to acquire, in this order.

        Each settler begins at a different bucket, so two settlers rarely try the same bucket at the same time.
        """
        rank, count = self._rank(self.me), len(self.others) + 1
        order = sorted(free, key=lambda bucket: (bucket - rank * SITE_BUCKETS // count) % SITE_BUCKETS)
        if self._has_little(self.me) and not all(map(self._has_little, self.others)):
            return order
        return order[: max(0, self._target(self.me) - len(self.me.buckets))]

    def to_leave(self, loads: Mapping[int, int]) -> frozenset[int]:
        """Return the buckets that the settler should give up.

        Args:
            loads: for each bucket, how many site-days wait for the settler.
        """
        idle = sum(map(self._has_little, self.others))
        if not self._has_little(self.me):
            busy = sorted((bucket for bucket in self.me.buckets if loads.get(bucket)), key=lambda each: -loads[each])
            return frozenset(busy) - frozenset(busy[:: idle + 1])
        excess = len(self.me.buckets) - self._target(self.me)
        missing = sum(max(0, self._target(other) - len(other.buckets)) for other in self.others)
        lightest = sorted(self.me.buckets, key=lambda bucket: (loads.get(bucket, 0), bucket))
        return frozenset(lightest[: max(0, min(excess, missing))])

    def _has_little(self, member: Member) -> bool:
        return member.load < self.much

    def _rank(self, member: Member) -> int:
        return sorted([self.me.owner, *(other.owner for other in self.others)]).index(member.owner)

    def _target(self, member: Member) -> int:
        """Return how many buckets the settler has if the buckets are divided equally."""
        count, over = divmod(SITE_BUCKETS, len(self.others) + 1)
        return count + (self._rank(member) < over)
