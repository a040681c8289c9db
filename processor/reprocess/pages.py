"""Read the recomputed site-days of a part page by page (reprocessing)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hitmesh.model.reprocessings import Rebuilt, Reprocessing
from hitmesh.model.sites import SiteDay
from hitmesh.ports import Reprocessings


def page_of(
    reprocessings: Reprocessings, reprocessing: Reprocessing, after: SiteDay | None, limit: int
) -> Sequence[Rebuilt]:
    """Return at most `limit` recomputed site-days after `after`, only of the reprocessing's sites.

    Args:
        reprocessings: the stored reprocessings.
        reprocessing: the reprocessing, with all its sites or with those of a part.
        after: the site-day before the page; None: the page is the first.
        limit: maximum number of site-days.
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
    """Return at most `limit` recomputed site-days of a site, after `after` if that is a day of the site.

    After the last day of the plan, a single value is read at a time, because usually the next belongs to another site.
    """
    before = SiteDay(site, reprocessing.first_day - 1)
    begin = before if after is None else max(after, before)
    days = max(reprocessing.end_day - 1 - begin.day, 1)
    page = reprocessings.rebuilt(reprocessing.id, begin, min(limit, days))
    return [rebuilt for rebuilt in page if rebuilt.site_day.site == site]


def all_of_site(
    reprocessings: Reprocessings, reprocessing: Reprocessing, site: str, after: SiteDay | None, page_site_days: int
) -> Iterator[Rebuilt]:
    """Yield all recomputed site-days of a site after `after`, read in pages."""
    while page := of_site(reprocessings, reprocessing, site, after, page_site_days):
        yield from page
        after = page[-1].site_day
