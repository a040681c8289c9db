"""Files that lost or damaged values: the check names the site-day, and a repair brings the same report back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hitmesh.model.plan import Kind
from hitmesh.model.reprocessings import LostHits, State, Work
from hitmesh.model.sites import SiteDay
from hitmesh.model.zones import DAY_MS
from tests.reference.hits import RefHit, RefItem
from tests.support.checking import problems, stores_of
from tests.support.damaged_files import LOSSES, flip, run
from tests.support.reprocessing import done, imbalance, plan, stored
from tests.support.small_mesh import SmallMesh, differences, expected_rows

SITE, OTHER = "merchants/demo/sites/shop", "merchants/demo/sites/blog"
DAY = 20_000
MINUTE = 60_000
SITE_DAY = SiteDay(SITE, DAY)
PLACES = {
    "rows": {"metrics"},
    "segments": {"metrics"},
    "settled series": {"series"},
    "raw records": {"raw"},
    "raw index": {"raw"},
    "a bit of a segment": {"metrics"},
    "a bit of a series": {"series"},
    "a bit of a raw record": {"raw"},
    "a bit of a carry": {"carry"},
}


def a_hit(minute: int, visitor: str = "v", site: str = SITE) -> RefHit:
    return RefHit(site, visitor, f"{visitor}-{minute}", DAY * DAY_MS + minute * MINUTE, page_path=f"/{minute}")


def an_order(minute: int) -> RefHit:
    item = RefItem("sku", unit_price_micros=5)
    return RefHit(
        *(SITE, "buyer", f"order-{minute}", DAY * DAY_MS + minute * MINUTE),
        **{"type": "ORDER", "order_id": "o", "total_micros": 5, "currency": "USD", "items": (item,)},  # type: ignore[arg-type]  # fields of RefHit
    )


HITS = [a_hit(0), a_hit(10), a_hit(700, "w"), a_hit(1_430), a_hit(1_445), a_hit(1_460), a_hit(2_885)]


@pytest.fixture(params=["history", "confirmed"])
def mesh(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[SmallMesh]:
    """Return settled days: of history hits with a settled generation, or of live hits with the stream's generation."""
    start = (DAY + 5) * DAY_MS if request.param == "history" else DAY * DAY_MS + 1_500 * MINUTE
    made = SmallMesh(start, sites=[SITE, OTHER], url=f"embedded:{tmp_path}")
    made.send([*HITS[:3], an_order(20), a_hit(0, "x", OTHER)])
    made.send(HITS[3:])
    made.settle()
    assert differences(made.rows(), expected_rows(made.sent)) == []
    yield made
    made.runner.close()
    made.stores.close()


def found(mesh: SmallMesh) -> dict[SiteDay, set[str]]:
    """Return the stores that do not add up, by site-day."""
    mesh.runner.flush()
    every = problems(mesh.stores, mesh.clock, ["merchants/demo/sites/-"])
    days = {each.site: SiteDay(each.site, 0) for each in every}
    assert days.keys() <= {SITE, OTHER}
    return {SiteDay(each.site, day_of(each.utc_date.day, each.utc_date.month)): stores_of(each) for each in every}


def day_of(day: int, month: int) -> int:
    assert month == 10
    return DAY + day - 4


def repair(mesh: SmallMesh, days: tuple[int, int] = (DAY, DAY + 3)) -> None:
    plan(mesh, [OTHER, SITE], days, kind=Kind.REPAIR, logic="")
    assert done(mesh, Work.RECOMPUTE).state is State.DIFF_READY, stored(mesh).error
    assert done(mesh, Work.PUBLISH).state is State.PUBLISHED, stored(mesh).error


@pytest.mark.parametrize("loss", LOSSES)
def test_check_names_a_loss_and_a_repair_brings_the_same_report_back(
    mesh: SmallMesh, tmp_path: Path, loss: str, request: pytest.FixtureRequest
) -> None:
    assert found(mesh) == {}
    if loss in ("rows", "segments", "a bit of a segment") and mesh_is_confirmed(mesh):
        pytest.skip("the rows of a confirmed day are the rows of the stream")
    LOSSES[loss](tmp_path, SITE_DAY)
    assert PLACES[loss] <= found(mesh)[SITE_DAY]
    repair(mesh)
    mesh.settle()
    assert differences(mesh.rows(), expected_rows(mesh.sent)) == []
    assert (found(mesh), imbalance(mesh)) == ({}, 0)


def mesh_is_confirmed(mesh: SmallMesh) -> bool:
    return mesh.stores.generations.current(SITE, DAY, DAY + 1)[DAY].generation == 0
