"""Selects the site-days that a reprocessing must recompute (step RECOMPUTE).

The module `rebuilder` recomputes each selected site-day. After the plan's last day, the work continues with the settled
days that follow. On each site, the work ends when a recomputation no longer changes the carry to the next day (rule
L4). The reported difference therefore includes days after the plan that change only because of a changed carry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from hitmesh.model.errors import StoreCorrupt
from hitmesh.model.plan import Kind
from hitmesh.model.reprocessings import Rebuilt, Reprocessing, Work
from hitmesh.model.sites import SiteDay
from hitmesh.ports import Generations, Reprocessings
from processor.reprocess.chain import Chain, Reached
from processor.reprocess.failures import SiteDayFailed, naming
from processor.reprocess.pages import all_of_site
from processor.reprocess.rebuilder import Rebuilder, Recomputed
from processor.reprocess.restoring import Restoring
from processor.reprocess.sides import refuse_fewer_hits
from processor.reprocess.versions import logic_for, rules_for
from processor.settle.attempt import Handed
from processor.settle.reached import ScanBounds


class Recomputing:
    """Recomputes a reprocessing's site-days, ordered by site and day.

    An instance must be used by one thread only. A repair begins by restoring raw records from the log. If raw hits of a
    site-day are still missing or damaged, the site-day is not recomputed, and keeps its published generation. A
    site-day after the plan keeps its logic and rules. If the raw hits of a site-day after the plan are not complete,
    the site-day is left to the settler.

    Args:
        page_site_days: how many recomputed site-days are read at once.
    """

    def __init__(
        self,
        generations: Generations,
        reprocessings: Reprocessings,
        rebuilder: Rebuilder,
        restoring: Restoring,
        page_site_days: int,
    ) -> None:
        self._generations = generations
        self._reprocessings = reprocessings
        self._rebuilder = rebuilder
        self._restoring = restoring
        self._page_site_days = page_site_days

    def begin(self, reprocessing: Reprocessing, chain: Chain) -> Chain:
        """Return the chain, extended by the site-days whose recomputation is already stored."""
        at = Reached(chain)
        for _, rebuilt in self._left(reprocessing, at):
            if rebuilt is None:
                break
            at.go_on(reprocessing, rebuilt)
        return at.chain

    def advance(self, reprocessing: Reprocessing, chain: Chain, is_over: Callable[[], bool]) -> tuple[Chain, bool]:
        """Recompute at least one site-day, then further site-days until the work portion is over.

        Return the chain, extended by the finished site-days. Also return whether all site-days are recomputed.
        """
        kept = self._restoring.advance(reprocessing, is_over) if reprocessing.kind is Kind.REPAIR else frozenset()
        if kept is None:
            return chain, False
        at, bounds = Reached(chain), self._rebuilder.bounds()
        wave: list[Recomputed] = []
        is_done = True
        for site_day, rebuilt in self._left(reprocessing, at):
            if rebuilt is not None:
                at.go_on(reprocessing, rebuilt)
                continue
            if is_over() and at.chain is not chain:
                is_done = False
                break
            is_wanted = site_day not in kept and self._rebuilder.concerns(reprocessing, site_day, bounds)
            done = self._recomputed(reprocessing, site_day, at.chain.handed(site_day), bounds) if is_wanted else None
            if done is None:
                at.chain = at.chain.past(site_day, is_counted=reprocessing.is_planned(site_day.day))
                continue
            at.go_on(reprocessing, done.rebuilt)
            wave.append(done)
            if self._rebuilder.is_full(wave):
                self._rebuilder.store(reprocessing.id, wave)
                wave = []
        self._rebuilder.store(reprocessing.id, wave)
        if is_done and reprocessing.kind is Kind.ERASE:
            return self._with_open_hits(reprocessing, at.chain, is_over)
        return at.chain, is_done

    def _with_open_hits(
        self, reprocessing: Reprocessing, chain: Chain, is_over: Callable[[], bool]
    ) -> tuple[Chain, bool]:
        """Count the hits that the erased visitor has on days that are not settled yet.

        Return the chain with the number of counted hits, and whether all unsettled days' hits are counted.
        """
        for site_day in self._rebuilder.open_days(reprocessing):
            if chain.counted is None or site_day > chain.counted:
                hits = self._rebuilder.open_hits(reprocessing, site_day)
                chain = replace(chain, open_hits=chain.open_hits + hits, counted=site_day)
                if is_over():
                    return chain, False
        return chain, True

    def _recomputed(
        self, reprocessing: Reprocessing, site_day: SiteDay, handed: Handed, bounds: ScanBounds
    ) -> Recomputed | None:
        """Return a recomputed site-day.

        If raw hits are damaged, the site-day keeps its generation, and the result is None.

        Raises:
            SiteDayFailed: the site-day cannot be settled.
            RetryError: a store is unavailable.
        """
        is_planned = reprocessing.is_planned(site_day.day)
        logic, rules = logic_for(reprocessing, site_day.day), rules_for(reprocessing, site_day)
        try:
            done = self._rebuilder.recompute(site_day, logic, handed, bounds, Work.RECOMPUTE, rules, reprocessing.marks)
            if not is_planned:
                with naming(site_day):
                    refuse_fewer_hits(done.rebuilt, Work.RECOMPUTE)
            return done
        except SiteDayFailed as error:
            is_kept = reprocessing.kind is Kind.REPAIR or not is_planned
            if not is_kept or not isinstance(error.__cause__, StoreCorrupt):
                raise
        if is_planned:
            self._restoring.keep(site_day)
        return None

    def _left(self, reprocessing: Reprocessing, at: Reached) -> Iterator[tuple[SiteDay, Rebuilt | None]]:
        """Yield the site-days that follow the chain's last site-day, each with its stored recomputation or None.

        Another settler may already have stored these site-days' recomputations. Days without a current generation are
        left out, because they are settled when they close. Before the caller takes the next site-day, the caller must
        add the yielded site-day to the chain in `at`.
        """
        last = at.chain.last
        for site in sorted(reprocessing.sites):
            if last is None or site >= last.site:
                days = sorted(self._generations.current(site, reprocessing.first_day, reprocessing.end_day))
                left = [SiteDay(site, day) for day in days if last is None or SiteDay(site, day) > last]
                stored = all_of_site(self._reprocessings, reprocessing, site, last, self._page_site_days)
                following = next(stored, None) if left else None
                for site_day in left:
                    while following is not None and following.site_day < site_day:
                        following = next(stored, None)
                    is_stored = following is not None and following.site_day == site_day
                    yield site_day, following if is_stored else None
                yield from self._following(reprocessing, site, at)

    def _following(
        self, reprocessing: Reprocessing, site: str, at: Reached
    ) -> Iterator[tuple[SiteDay, Rebuilt | None]]:
        """Yield a site's settled days after the plan's last day.

        Stop after a day whose carry to the next day has not changed.
        """
        while (last := at.chain.last) is not None and last.site == site and last.day >= reprocessing.end_day - 1:
            site_day = SiteDay(site, last.day + 1)
            is_settled = self._generations.current(site, site_day.day, site_day.day + 1)
            if not is_settled or not at.chain.disturbs(site_day):
                return
            stored = self._reprocessings.rebuilt(reprocessing.id, last, 1)
            yield site_day, next((each for each in stored if each.site_day == site_day), None)
