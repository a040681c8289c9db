"""The results of recomputed site-days that later days of the site need (reprocessing, rules D3 and L4). Pure."""

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
    """The recomputed site-days up to `last`, in the order (site, day), as far as later days need their results.

    Attributes:
        last: the last site-day; None before the first.
        hands_on: the generation with the carry of `last`; None if the carry of the current generation applies.
        flags: the duplicate flags that the site's recomputed days changed, by claim.
        count: how many site-days the chain has.
        following: how many of them follow the last day of the plan.
        reach_day: the day after the last of these; 0 without such a site-day.
        open_hits: for an erasure, how many hits of the visitor lie on days that are not settled yet, as far as counted.
        counted: the last of these days that is counted; None before the first.
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
        """Return whether a site-day settles differently because of `last`, which is the day before (rule L4)."""
        if self.last is None or self.hands_on is None or self.instead_of is None:
            return False
        is_next = (self.last.site, self.last.day + 1) == site_day
        return is_next and not hand_on_the_same(self.instead_of, self.hands_on)

    def handed(self, site_day: SiteDay) -> Handed:
        """Return the results that a site-day after `last` needs."""
        if self.last is None or self.last.site != site_day.site:
            return Handed()
        before = self.hands_on if self.last.day == site_day.day - 1 else None
        if before is None:
            return Handed(flags=self.flags)
        return Handed(Carry.from_bytes(before.carry), self.flags, logic_numbered(before.logic))

    def then(self, rebuilt: Rebuilt, work: Work) -> Chain:
        """Return the chain with a further site-day, in the generation that the work makes current."""
        flags = flags_to_set(rebuilt, work)
        if self.last is not None and self.last.site == rebuilt.site_day.site:
            flags = {**self.flags, **flags} if flags else self.flags
        to, other = wanted(rebuilt, work), unwanted(rebuilt, work)
        return replace(self, last=rebuilt.site_day, hands_on=to, instead_of=other, flags=flags, count=self.count + 1)

    def followed_by(self, rebuilt: Rebuilt, work: Work) -> Chain:
        """Return the chain with a further site-day that follows the last day of the plan."""
        reach_day = max(self.reach_day, rebuilt.site_day.day + 1)
        return replace(self.then(rebuilt, work), following=self.following + 1, reach_day=reach_day)

    def past(self, site_day: SiteDay, *, is_counted: bool = True) -> Chain:
        """Return the chain with a further site-day whose current generation is kept."""
        of_site = self.last is not None and self.last.site == site_day.site
        flags = self.flags if of_site else {}
        count = self.count + is_counted
        return replace(self, last=site_day, hands_on=None, instead_of=None, flags=flags, count=count)


@dataclass(slots=True)
class Reached:
    """How far a recomputation has come."""

    chain: Chain

    def go_on(self, reprocessing: Reprocessing, rebuilt: Rebuilt) -> None:
        """Continue the chain with a recomputed site-day of the plan, or after the plan."""
        is_planned = reprocessing.is_planned(rebuilt.site_day.day)
        add = self.chain.then if is_planned else self.chain.followed_by
        self.chain = add(rebuilt, Work.RECOMPUTE)
