"""Shared code of the settler's tests: days, hits, and a mesh in this process."""

from __future__ import annotations

from dataclasses import replace

from hitmesh.model.generations import GenerationEntry
from hitmesh.model.sites import SiteDay
from tests.reference.hits import RefHit, RefItem
from tests.support.small_mesh import SmallMesh

SITE, OTHER = "merchants/m/sites/s", "merchants/m/sites/t"
DAY = 20_000
MINUTE = 60_000
MIDNIGHT = DAY * 86_400_000
# Late enough that every day of these tests is closed. New hits therefore arrive after their day has closed.
NOON = MIDNIGHT + 5 * 86_400_000 + 720 * MINUTE
TODAY, YESTERDAY, TOMORROW = SiteDay(SITE, DAY), SiteDay(SITE, DAY - 1), SiteDay(SITE, DAY + 1)
LAST_DAY = 10**6


def a_hit(minute: float, visitor: str = "v", hit_id: str | None = None) -> RefHit:
    """Return a page view at the given minute after the midnight of DAY."""
    at_ms = MIDNIGHT + round(minute * MINUTE)
    return RefHit(SITE, visitor, hit_id or f"{visitor}-{minute}", at_ms, page_path=f"/{minute:g}")


def an_order(minute: float, order_id: str, visitor: str = "v", hit_id: str | None = None) -> RefHit:
    """Return an order at the given minute after the midnight of DAY."""
    items = (RefItem("sku", unit_price_micros=5),)
    order = a_hit(minute, visitor, hit_id)
    return replace(order, type="ORDER", order_id=order_id, total_micros=5, currency="USD", items=items)


def a_mesh(*hits: RefHit) -> SmallMesh:
    """Return a mesh to whose log the given hits are appended."""
    mesh = SmallMesh(NOON, sites=[SITE])
    mesh.send(hits)
    return mesh


def taken_in(*hits: RefHit) -> SmallMesh:
    """Return a mesh that has stored raw records and dirty marks for the hits, but has not settled them."""
    mesh = a_mesh(*hits)
    mesh.heartbeat()
    mesh.stream()
    return mesh


def entry(mesh: SmallMesh, site_day: SiteDay = TODAY) -> GenerationEntry | None:
    """Return the current generation entry of a site-day, or None."""
    return mesh.stores.generations.current(site_day.site, site_day.day, site_day.day + 1).get(site_day.day)


def dirty(mesh: SmallMesh) -> list[SiteDay]:
    """Return the dirty site-days."""
    return [dirty_day.site_day for dirty_day in mesh.stores.dirty.take(99, LAST_DAY)]
