"""Reads a part's recomputed site-days page by page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hitmesh.model.reprocessings import Rebuilt, Reprocessing
from hitmesh.model.sites import SiteDay
from hitmesh.ports import Reprocessings


def page_of(
    reprocessings: Reprocessings, reprocessing: Reprocessing, after: SiteDay | None, limit: int
) -> Sequence[Rebuilt]:
    """Return at most `limit` recomputed site-days after `after`, for the given reprocessing's sites only.

    Args:
        reprocessings: the stored reprocessings.
        reprocessing: the reprocessing, with all its sites or only a part's sites.
        after: the last site-day before the page; None for the first page.
        limit: how many site-days are returned at most.
    """
    sites = frozenset(reprocessing.sites)
    page = reprocessings.rebuilt(reprocessing.id, after, limit)
    if all(rebuilt.site_day.site in sites for rebuilt in page):
        return page
    found: list[Rebuilt] = []
    for site in sorted(sites):
        if len(found) < limit and (after is None or site >= after.site):
            found += of_site(reprocessings, reprocessing, site, after, limit - len(found))
    return found


def of_site(
    reprocessings: Reprocessings, reprocessing: Reprocessing, site: str, after: SiteDay | None, limit: int
) -> Sequence[Rebuilt]:
    """Return at most `limit` recomputed site-days for a site, beginning after `after`.

    After the plan's last day, values are read one at a time, because the next value usually belongs to another site.
    """
    before = SiteDay(site, reprocessing.first_day - 1)
    begin = before if after is None else max(after, before)
    days = max(reprocessing.end_day - 1 - begin.day, 1)
    page = reprocessings.rebuilt(reprocessing.id, begin, min(limit, days))
    return [rebuilt for rebuilt in page if rebuilt.site_day.site == site]


def all_of_site(
    reprocessings: Reprocessings, reprocessing: Reprocessing, site: str, after: SiteDay | None, page_site_days: int
) -> Iterator[Rebuilt]:
    """Yield a site's recomputed site-days after `after`, read in pages."""
    while page := of_site(reprocessings, reprocessing, site, after, page_site_days):
        yield from page
        after = page[-1].site_day
