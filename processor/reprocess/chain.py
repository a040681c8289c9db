"""The results of recomputed site-days that later days of the site need (reprocessing, rules D3 and L4). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hitmesh.model.logic import logic_numbered
from hitmesh.model.reprocessings import GenerationVersion, Rebuilt, Work
from hitmesh.model.sites import SiteDay
from processor.reprocess.sides import flags_to_set, wanted
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
    """

    last: SiteDay | None = None
    hands_on: GenerationVersion | None = None
    flags: Mapping[HitAt, bool] = field(default_factory=dict)
    count: int = 0

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
        return Chain(rebuilt.site_day, wanted(rebuilt, work), flags, self.count + 1)

    def past(self, site_day: SiteDay) -> Chain:
        """Return the chain with a further site-day whose current generation is kept."""
        of_site = self.last is not None and self.last.site == site_day.site
        return Chain(site_day, None, self.flags if of_site else {}, self.count + 1)
