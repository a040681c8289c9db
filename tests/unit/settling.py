"""Shared parts of the settler tests: days, hits, and a mesh in one process."""

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
NOON = MIDNIGHT + 5 * 86_400_000 + 720 * MINUTE  # every day in these tests is closed, so new hits are history
TODAY, YESTERDAY, TOMORROW = SiteDay(SITE, DAY), SiteDay(SITE, DAY - 1), SiteDay(SITE, DAY + 1)
LAST_DAY = 10**6


def a_hit(minute: float, visitor: str = "v", hit_id: str | None = None) -> RefHit:
    """Return a page view at the given minute after midnight."""
    at_ms = MIDNIGHT + round(minute * MINUTE)
    return RefHit(SITE, visitor, hit_id or f"{visitor}-{minute}", at_ms, page_path=f"/{minute:g}")


def an_order(minute: float, order_id: str, visitor: str = "v", hit_id: str | None = None) -> RefHit:
    """Return an order at the given minute after midnight."""
    items = (RefItem("sku", unit_price_micros=5),)
    order = a_hit(minute, visitor, hit_id)
    return replace(order, type="ORDER", order_id=order_id, total_micros=5, currency="USD", items=items)


def a_mesh(*hits: RefHit) -> SmallMesh:
    """Return a mesh that received the given hits."""
    mesh = SmallMesh(NOON, sites=[SITE])
    mesh.send(hits)
    return mesh


def taken_in(*hits: RefHit) -> SmallMesh:
    """Return a mesh whose hits are raw and dirty, not settled."""
    mesh = a_mesh(*hits)
    mesh.heartbeat()
    mesh.stream()
    return mesh


def entry(mesh: SmallMesh, site_day: SiteDay = TODAY) -> GenerationEntry | None:
    """Return the newest generation of a site-day."""
    return mesh.stores.generations.current(site_day.site, site_day.day, site_day.day + 1).get(site_day.day)


def dirty(mesh: SmallMesh) -> list[SiteDay]:
    """Return the site-days that await settlement."""
    return [dirty_day.site_day for dirty_day in mesh.stores.dirty.take(99, LAST_DAY)]
