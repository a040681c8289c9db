"""Counts a visitor's hits on days that are not settled yet. An erasure recomputes only settled days."""

from __future__ import annotations

from collections.abc import Sequence

from hitmesh.model.reprocessings import Reprocessing
from hitmesh.model.sites import SiteDay
from processor.erase.records import erased_days
from processor.erase.visitors import ErasedVisitors
from processor.settle.stores import SettlerStores


def open_days(stores: SettlerStores, reprocessing: Reprocessing) -> Sequence[SiteDay]:
    """Return the site-days that have raw hits and are not recomputed, in ascending order."""
    found = []
    for site in reprocessing.sites:
        days = sorted(stores.raw.days(site))
        settled = stores.generations.current(site, days[0], days[-1] + 1) if days else {}
        found += [SiteDay(site, day) for day in days if day not in settled or not reprocessing.is_planned(day)]
    return found


def open_hits(stores: SettlerStores, reprocessing: Reprocessing, site_day: SiteDay) -> int:
    """Return how many stored hits the erased visitor has on a day.

    Raises:
        StoreCorrupt: a record does not decode.
    """
    site, day = site_day
    visitors = ErasedVisitors(stores.directory.mesh_secret(), reprocessing.marks)
    return sum(erased_days(record, visitors).count(day) for record in stores.raw.scan(site, day, day + 1))
