"""Order and limit the dirty site-days that a settler receives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hitmesh.model.generations import DirtyMark, DirtySiteDay, MarkRange
from hitmesh.model.positions import PartitionId
from hitmesh.model.sites import SiteDay


def whole_sites(site_days: Sequence[SiteDay], limit: int) -> Sequence[SiteDay]:
    """Return at most the first `limit` site-days.

    Either all or none of a site's site-days are returned, unless the first site alone has more than `limit`.

    Args:
        site_days: at least the first `limit` + 1 site-days in (site, day) order, or all site-days if fewer exist.
        limit: maximum number to return, at least 1.
    """
    if len(site_days) <= limit:
        return site_days
    cut_site = site_days[limit].site
    whole = [site_day for site_day in site_days[:limit] if site_day.site != cut_site]
    return whole or site_days[:limit]


def gathered(ranges: Iterable[tuple[SiteDay, MarkRange]]) -> list[DirtySiteDay]:
    """Return a single entry per site-day, in the order of `ranges`, which must be grouped by site-day."""
    by_site_day: dict[SiteDay, list[MarkRange]] = {}
    for site_day, mark_range in ranges:
        by_site_day.setdefault(site_day, []).append(mark_range)
    return [DirtySiteDay(site_day, tuple(marks)) for site_day, marks in by_site_day.items()]


def taken_of(site_days: Iterable[SiteDay], marked: Iterable[DirtySiteDay]) -> list[DirtySiteDay]:
    """Return an entry per site-day with its dirty marks; a site-day that was only awaited has no dirty marks."""
    by_site_day = {entry.site_day: entry for entry in marked}
    return [by_site_day.get(site_day, DirtySiteDay(site_day, ())) for site_day in site_days]


def ranges_of(marks: Iterable[DirtyMark]) -> list[tuple[SiteDay, MarkRange]]:
    """Return the range of dirty marks for each (site, day, partition), in the order of (site, day, partition)."""
    found: dict[tuple[SiteDay, PartitionId], MarkRange] = {}
    for mark in marks:
        partition = PartitionId(mark.position.log, mark.position.partition)
        key, offset = (mark.site_day, partition), mark.position.offset
        old = found.get(key, MarkRange(partition, offset, offset, mark.log_time))
        found[key] = MarkRange(
            partition,
            min(old.first_offset, offset),
            max(old.last_offset, offset),
            min(old.first_log_time, mark.log_time),
        )
    return [(site_day, found[site_day, partition]) for site_day, partition in sorted(found)]
