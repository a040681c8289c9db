"""Collects recomputed site-days' results that the same site's later days need (rules D3 and L4).

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hitmesh.model.logic import logic_numbered
from hitmesh.model.reprocessings import GenerationVersion, Rebuilt, Reprocessing, Work
from hitmesh.model.sites import SiteDay
from processor.reprocess.sides import flags_to_set, hand_on_the_same, unwanted, wanted
from processor.rules.carry import Carry
from processor.rules.orders import HitAt
from processor.settle.attempt import Handed


@dataclass(frozen=True, slots=True)
class Chain:
    """Recomputed site-days' results that the same site's later days need.

    All site-days up to `last` are included, in the order (site, day).

    Attributes:
        last: the last site-day in the chain; None if there is none yet.
        hands_on: the generation from which the next day takes the carry from `last`; None if the current generation's
            carry applies.
        flags: the duplicate flags of claims that the site's recomputed days have changed.
        count: how many site-days are in the chain.
        following: how many site-days in the chain follow the plan's last day.
        reach_day: the day after the last site-day that follows the plan; 0 if there is none.
        open_hits: for an erasure, how many of the visitor's hits have been found so far on days that are not settled.
        counted: the last unsettled site-day on which hits were counted; None if there is none yet.
        instead_of: the generation that `hands_on` replaces; None if `hands_on` is None.
    """

    last: SiteDay | None = None
    hands_on: GenerationVersion | None = None
    flags: Mapping[HitAt, bool] = field(default_factory=dict)
    count: int = 0
    following: int = 0
    reach_day: int = 0
    instead_of: GenerationVersion | None = None
    open_hits: int = 0
    counted: SiteDay | None = None

    def disturbs(self, site_day: SiteDay) -> bool:
        """Return whether the carry from `last` changes the settlement of `site_day` (rule L4).

        The carry can change only the settlement of the day after `last`.
        """
        if self.last is None or self.hands_on is None or self.instead_of is None:
            return False
        is_next = (self.last.site, self.last.day + 1) == site_day
        return is_next and not hand_on_the_same(self.instead_of, self.hands_on)

    def handed(self, site_day: SiteDay) -> Handed:
        """Return the results that are needed to recompute a site-day after `last`."""
        if self.last is None or self.last.site != site_day.site:
            return Handed()
        before = self.hands_on if self.last.day == site_day.day - 1 else None
        if before is None:
            return Handed(flags=self.flags)
        return Handed(Carry.from_bytes(before.carry), self.flags, logic_numbered(before.logic))

    def then(self, rebuilt: Rebuilt, work: Work) -> Chain:
        """Return the chain, extended by a recomputed site-day, in the generation that the work makes current."""
        flags = flags_to_set(rebuilt, work)
        if self.last is not None and self.last.site == rebuilt.site_day.site:
            flags = {**self.flags, **flags} if flags else self.flags
        to, other = wanted(rebuilt, work), unwanted(rebuilt, work)
        return replace(self, last=rebuilt.site_day, hands_on=to, instead_of=other, flags=flags, count=self.count + 1)

    def followed_by(self, rebuilt: Rebuilt, work: Work) -> Chain:
        """Return the chain, extended by a site-day that follows the plan's last day."""
        reach_day = max(self.reach_day, rebuilt.site_day.day + 1)
        return replace(self.then(rebuilt, work), following=self.following + 1, reach_day=reach_day)

    def past(self, site_day: SiteDay, *, is_counted: bool = True) -> Chain:
        """Return the chain, extended by a site-day that is not recomputed and keeps its current generation."""
        of_site = self.last is not None and self.last.site == site_day.site
        flags = self.flags if of_site else {}
        count = self.count + is_counted
        return replace(self, last=site_day, hands_on=None, instead_of=None, flags=flags, count=count)


@dataclass(slots=True)
class Reached:
    """The chain of the site-days that a recomputation has finished."""

    chain: Chain

    def go_on(self, reprocessing: Reprocessing, rebuilt: Rebuilt) -> None:
        """Extend the chain by a recomputed site-day, which may be in the plan or after the plan."""
        is_planned = reprocessing.is_planned(rebuilt.site_day.day)
        add = self.chain.then if is_planned else self.chain.followed_by
        self.chain = add(rebuilt, Work.RECOMPUTE)
