"""What tests of the settler share: days, hits, and a mesh of one process."""

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
NOON = MIDNIGHT + 5 * 86_400_000 + 720 * MINUTE  # when all days here are closed: what comes is history
TODAY, YESTERDAY, TOMORROW = SiteDay(SITE, DAY), SiteDay(SITE, DAY - 1), SiteDay(SITE, DAY + 1)
LAST_DAY = 10**6


def a_hit(minute: float, visitor: str = "v", hit_id: str | None = None) -> RefHit:
    """Return a page view so many minutes after midnight."""
    at_ms = MIDNIGHT + round(minute * MINUTE)
    return RefHit(SITE, visitor, hit_id or f"{visitor}-{minute}", at_ms, page_path=f"/{minute:g}")


def an_order(minute: float, order_id: str, visitor: str = "v", hit_id: str | None = None) -> RefHit:
    """Return an order so many minutes after midnight."""
    items = (RefItem("sku", unit_price_micros=5),)
    order = a_hit(minute, visitor, hit_id)
    return replace(order, type="ORDER", order_id=order_id, total_micros=5, currency="USD", items=items)


def a_mesh(*hits: RefHit) -> SmallMesh:
    """A mesh that was sent these hits."""
    mesh = SmallMesh(NOON, sites=[SITE])
    mesh.send(hits)
    return mesh


def taken_in(*hits: RefHit) -> SmallMesh:
    """A mesh whose hits are raw and dirty, not settled."""
    mesh = a_mesh(*hits)
    mesh.heartbeat()
    mesh.stream()
    return mesh


def entry(mesh: SmallMesh, site_day: SiteDay = TODAY) -> GenerationEntry | None:
    """Return the newest generation of a site-day."""
    return mesh.stores.generations.current(site_day.site, site_day.day, site_day.day + 1).get(site_day.day)


def dirty(mesh: SmallMesh) -> list[SiteDay]:
    """Return the site-days that wait to be settled."""
    return [one.site_day for one in mesh.stores.dirty.take(99, LAST_DAY)]
