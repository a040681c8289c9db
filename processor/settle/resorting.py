"""Decides when the settler re-sorts hits by site. Decides which site-days are settled from the re-sorted hits."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set

from hitmesh.model.days import date_text
from hitmesh.model.errors import RetryError
from hitmesh.model.generations import SETTLEMENT_LOG, DirtySiteDay
from hitmesh.model.sites import SiteDay
from hitmesh.ports import Clock, DirtyDays, RawStore
from hitmesh.runtime.logs import logger
from processor.any_error import ANY_ERROR
from processor.settle.memory import SettleMemory
from processor.settle.pace import SettlePace
from processor.settle.reached import ScanBounds
from processor.settle.sorted_hits import SortedHits
from processor.settle.wave import covered_by


class Resorting:
    """The settler's re-sorted hits, at most one `SortedHits` at a time. An instance belongs to the settler's thread.

    The re-sorted hits are within the bounds of the scan that read them. Even if the re-sorted hits include a site-day's
    hits, the site-day is settled directly from its records in three cases:

    - None of the site-day's dirty marks is within the bounds of the re-sorted hits.
    - A settlement marked the site-day dirty.
    - An earlier day of the site was settled directly in the same pass.

    In the last two cases, the site-day may depend on a settlement that has read hits beyond the bounds.

    Args:
        raw: the raw records.
        dirty: the site-day queue.
        clock: measures for how long the hits have been used.
        pace: decides when hits are sorted, and how long they are used.
        memory: the limits that bound the memory.
    """

    def __init__(self, raw: RawStore, dirty: DirtyDays, clock: Clock, pace: SettlePace, memory: SettleMemory) -> None:
        self._raw = raw
        self._dirty = dirty
        self._clock = clock
        self._pace = pace
        self._memory = memory
        self._hits: SortedHits | None = None
        self._until = 0
        self._not_before = 0
        self._directly: set[str] = set()

    def prepare(self, taken: Sequence[DirtySiteDay], bounds: ScanBounds, closed_before: int, buckets: Set[int]) -> None:
        """Begin a pass over the site-days `taken`.

        If enough site-days in `taken` are on the same UTC day, sort the hits around this day.

        Raises:
            RetryError: the store is unavailable.
        """
        self._directly = set()
        now = self._clock.now()
        if self._hits is not None and now < self._until and any(map(self._is_sorted, taken)):
            return
        self._drop()
        days = _common_days(taken, self._pace.sort_site_days)
        if days is None or now < self._not_before:
            return
        more = self._dirty.take(max(self._pace.take_sorted_site_days, len(taken)), closed_before, buckets)
        sites = _sites_within(more, days)
        try:
            self._hits = SortedHits(self._raw, sites, days, bounds, self._memory)
        except RetryError:
            raise
        except ANY_ERROR as error:  # without sorted hits, a damaged record stops only the site-days that read it
            self._not_before = now + self._pace.retry_after_ms
            logger().warning("hits_not_sorted", error=type(error).__name__, message=str(error))
            return
        self._until = self._clock.now() + self._pace.sorted_ms
        logger().info(
            "hits_sorted", sites=len(sites), date=date_text(days.start), days=len(days), took_ms=self._clock.now() - now
        )

    def of(self, entry: DirtySiteDay) -> SortedHits | None:
        """Return the re-sorted hits for a site-day's settlement, or None if the settlement must read the records."""
        if self._hits is not None and self._is_sorted(entry):
            return self._hits
        self._directly.add(entry.site_day.site)
        return None

    def _is_sorted(self, entry: DirtySiteDay) -> bool:
        """Return whether a site-day may be settled from the re-sorted hits."""
        site, day = entry.site_day
        return (
            self._hits is not None
            and self._hits.has(site, day)
            and site not in self._directly
            and all(marks.partition.log != SETTLEMENT_LOG for marks in entry.marks)
            and covered_by(entry, self._hits.bounds.all) is not None
        )

    def _drop(self) -> None:
        if self._hits is not None:
            self._hits.close()
            self._hits = None


def _common_days(taken: Iterable[DirtySiteDay], at_least: int) -> range | None:
    """Return the most frequent day and both neighbouring days.

    If fewer than `at_least` site-days in `taken` are on the most frequent day, return None.
    """
    counts = Counter(entry.site_day.day for entry in taken)
    if not counts:
        return None
    day, count = min(counts.items(), key=lambda item: (-item[1], item[0]))
    return range(day - 1, day + 2) if count >= at_least else None


def _sites_within(taken: Iterable[DirtySiteDay], days: range) -> list[str]:
    """Return the sites whose site-days in `taken` are all on one of `days`, sorted."""
    of_site: Mapping[str, list[SiteDay]] = defaultdict(list)
    for entry in taken:
        of_site[entry.site_day.site].append(entry.site_day)
    return sorted(site for site, found in of_site.items() if all(each.day in days for each in found))
