"""Removes rows that were never published, and that no report has read (step CANCEL)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from hitmesh.model.reprocessings import Rebuilt, Reprocessing
from hitmesh.model.sites import SiteDay
from hitmesh.ports import Clock, Generations, Reprocessings, RollupSink
from processor.reprocess.chain import Chain
from processor.reprocess.pages import of_site

_FINISHED: Final = sys.maxsize
"""When all rows of a site have been dropped, the chain's `last` has this value as its day."""


class Cancelling:
    """Drops unpublished generations' rows and series, site by site.

    If an attempt has written rows but its site-day was never stored as recomputed, the attempt is abandoned. The
    settler removes abandoned attempts' rows later.

    Args:
        page_site_days: how many recomputed site-days are read at once.
    """

    def __init__(
        self,
        generations: Generations,
        reprocessings: Reprocessings,
        sink: RollupSink,
        clock: Clock,
        page_site_days: int,
    ) -> None:
        self._generations = generations
        self._reprocessings = reprocessings
        self._sink = sink
        self._clock = clock
        self._page_site_days = page_site_days

    def begin(self, reprocessing: Reprocessing, chain: Chain) -> Chain:
        """Return `chain` unchanged. Cancelling reads no stored progress, because dropping rows twice is harmless."""
        return chain

    def advance(self, reprocessing: Reprocessing, chain: Chain, is_over: Callable[[], bool]) -> tuple[Chain, bool]:
        """Drop further site-days' rows until the work portion is over.

        Return the chain, extended by the finished site-days. Also return whether all rows are dropped.
        """
        begun = chain
        while chain is begun or not is_over():
            site = _next_site(reprocessing, chain.last)
            if site is None:
                return chain, True
            page = of_site(self._reprocessings, reprocessing, site, chain.last, self._page_site_days)
            if page:
                self._sink.drop(list(self._unpublished(page)))
                chain = Chain(page[-1].site_day, count=chain.count + len(page))
            else:
                first_day, end_day = reprocessing.first_day, _end_of(reprocessing, site, chain.last)
                self._generations.abandon(site, first_day, end_day, now=self._clock.now())
                chain = Chain(SiteDay(site, _FINISHED), count=chain.count)
        return chain, False

    def _unpublished(self, page: Sequence[Rebuilt]) -> Iterator[tuple[SiteDay, int]]:
        """Yield the recomputed generations on this page that are not current."""
        for rebuilt in page:
            site, day = rebuilt.site_day
            entry = self._generations.current(site, day, day + 1).get(day)
            if entry is None or entry.generation != rebuilt.after.generation:
                yield rebuilt.site_day, rebuilt.after.generation


def _next_site(reprocessing: Reprocessing, last: SiteDay | None) -> str | None:
    """Return the first site whose rows are not all dropped.

    If `last.day` is `_FINISHED`, all rows for `last.site` are dropped.
    """
    return min((site for site in reprocessing.sites if last is None or SiteDay(site, _FINISHED) > last), default=None)


def _end_of(reprocessing: Reprocessing, site: str, last: SiteDay | None) -> int:
    """Return the day after the last day that the recomputation has reached on a site."""
    following = last.day + 1 if last is not None and last.site == site else 0
    return max(reprocessing.end_day, following)
