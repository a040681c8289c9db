"""Removes erased visitors from stored carries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import polars as pl

from hitmesh.model.errors import StoreCorrupt
from hitmesh.model.reprocessings import Rebuilt
from hitmesh.model.sites import SiteDay
from hitmesh.ports import Reprocessings
from processor.erase.visitors import ErasedVisitors
from processor.rules.carry import Carry

_PAGE: Final = 32  # each recomputed site-day has two carries, which may take megabytes


def without_visitors(carry: bytes, site: str, visitors: ErasedVisitors) -> bytes:
    """Return a carry without the erased visitors' visits.

    If the carry has no visit from an erased visitor, the carry is returned unchanged. If the carry does not decode, it
    may contain an erased visitor's visit, so empty bytes are returned. Readers treat empty bytes as a damaged carry.
    """
    if not carry:
        return carry
    try:
        decoded = Carry.from_bytes(carry)
    except StoreCorrupt:
        return b""
    rows = decoded.open_visits.select(
        pl.lit(site).alias("site"),
        "visitor_hi",
        "visitor_lo",
        pl.col("start").alias("event_time"),
        pl.lit(0, pl.UInt32).alias("flags"),
    )
    gone = visitors.hits(rows)
    return (
        replace(decoded, open_visits=decoded.open_visits.filter(pl.Series(~gone))).to_bytes() if gone.any() else carry
    )


def cleaned(rebuilt: Rebuilt, visitors: ErasedVisitors) -> Rebuilt:
    """Return a recomputed site-day, with the erased visitors' visits removed from its two carries."""
    site = rebuilt.site_day.site
    before, after = (
        replace(version, carry=without_visitors(version.carry, site, visitors))
        for version in (rebuilt.before, rebuilt.after)
    )
    return replace(rebuilt, before=before, after=after)


def rebuilt_of_site(reprocessings: Reprocessings, site: str) -> Iterator[tuple[str, Rebuilt]]:
    """Yield the site's recomputed site-days in all reprocessings, each with its reprocessing's id."""
    for reprocessing in reprocessings.all():
        if site in reprocessing.sites:
            for rebuilt in rebuilt_of(reprocessings, reprocessing.id, site):
                yield reprocessing.id, rebuilt


def rebuilt_of(reprocessings: Reprocessings, id_: str, site: str) -> Iterator[Rebuilt]:
    """Yield the site's recomputed site-days in a reprocessing, ordered by day."""
    after = SiteDay(site, -(1 << 31))
    while page := reprocessings.rebuilt(id_, after, _PAGE):
        for rebuilt in page:
            if rebuilt.site_day.site != site:
                return
            yield rebuilt
        after = page[-1].site_day
