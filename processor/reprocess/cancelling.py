"""Remove rows that no report ever read (reprocessing, step CANCEL)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from hitmesh.model.reprocessings import Rebuilt, Reprocessing
from hitmesh.model.sites import SiteDay
from hitmesh.ports import Generations, Reprocessings, RollupSink
from processor.reprocess.chain import Chain
from processor.reprocess.pages import page_of


class Cancelling:
    """Drops the rows and series that belong to unpublished generations.

    Args:
        page_site_days: how many recomputed site-days are read at once.
    """

    def __init__(
        self, generations: Generations, reprocessings: Reprocessings, sink: RollupSink, page_site_days: int
    ) -> None:
        self._generations = generations
        self._reprocessings = reprocessings
        self._sink = sink
        self._page_site_days = page_site_days

    def begin(self, reprocessing: Reprocessing, chain: Chain) -> Chain:
        """Return the given chain: dropping rows again changes nothing."""
        return chain

    def advance(self, reprocessing: Reprocessing, chain: Chain, is_over: Callable[[], bool]) -> tuple[Chain, bool]:
        """Drop the next site-days' rows until the portion is over; return whether all rows are dropped."""
        begun = chain
        while chain is begun or not is_over():
            page = page_of(self._reprocessings, reprocessing, chain.last, self._page_site_days)
            if not page:
                return chain, True
            self._sink.drop(list(self._unpublished(page)))
            chain = Chain(page[-1].site_day, count=chain.count + len(page))
        return chain, False

    def _unpublished(self, page: Sequence[Rebuilt]) -> Iterator[tuple[SiteDay, int]]:
        """Yield the new generations, except a generation that is current."""
        for rebuilt in page:
            site, day = rebuilt.site_day
            entry = self._generations.current(site, day, day + 1).get(day)
            if entry is None or entry.generation != rebuilt.after.generation:
                yield rebuilt.site_day, rebuilt.after.generation
