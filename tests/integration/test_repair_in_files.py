"""Test a check and a repair after values in files were lost or damaged.

The check names the site-day, and after the repair reports are as before the damage.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from control.rpc.reprocessing.get_reprocessing_diff import get_reprocessing_diff
from hitmesh.api.control.v1 import reprocessing_pb2 as pb
from hitmesh.model.checkpoints import unwatched
from hitmesh.model.days import day_message, day_of
from hitmesh.model.generations import STREAM_GENERATION
from hitmesh.model.plan import Kind
from hitmesh.model.queries import MetricQuery
from hitmesh.model.reprocessings import LostHits, State, Work
from hitmesh.model.rows.rollup_rows import TRAFFIC_MEASURES, VISITS_MEASURES, RowSource
from hitmesh.model.sites import SiteDay
from hitmesh.model.zones import DAY_MS
from tests.reference.hits import RefHit, RefItem
from tests.support.checking import OPERATOR_CALLER, problems, stores_of
from tests.support.damaged_files import LOSSES, run
from tests.support.reporters import control_backend
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
    "stream rows": {"metrics"},
    "stream rows with a flipped bit": {"metrics"},
    "stream series": {"series"},
}


def a_hit(minute: int, visitor: str = "v", site: str = SITE) -> RefHit:
    return RefHit(site, visitor, f"{visitor}-{minute}", DAY * DAY_MS + minute * MINUTE, page_path=f"/{minute}")


def an_order(minute: int) -> RefHit:
    item = RefItem("sku", unit_price_micros=5)
    return replace(a_hit(minute, "buyer"), type="ORDER", order_id="o", total_micros=5, currency="USD", items=(item,))


HITS = [a_hit(0), a_hit(10), an_order(20), a_hit(700, "w"), *map(a_hit, (1_430, 1_445, 1_460, 2_885))]


@pytest.fixture(scope="module")
def settled_homes(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, tuple[Path, int, list[RefHit]]]:
    """For each kind of mesh, return the directory of the settled stores, the mesh's current time, and the hits.

    In the mesh "history", all hits arrive after their day has closed. In the mesh "confirmed", settlement confirms the
    stream's rows.
    """
    homes = {}
    for kind, start in (("history", (DAY + 5) * DAY_MS), ("confirmed", DAY * DAY_MS)):
        home = tmp_path_factory.mktemp(kind)
        mesh = SmallMesh(start, sites=[SITE, OTHER], url=f"embedded:{home}")
        if kind == "history":
            mesh.send([*HITS[:4], a_hit(0, "x", OTHER)])
            mesh.send(HITS[4:])
        else:
            arrive_in_time(mesh, [a_hit(0, "x", OTHER), *HITS])
        mesh.settle()
        assert differences(mesh.rows(), expected_rows(mesh.sent)) == []
        is_confirmed = mesh.stores.generations.current(SITE, DAY, DAY + 1)[DAY].generation == STREAM_GENERATION
        assert is_confirmed == (kind == "confirmed")
        mesh.runner.flush()
        close(mesh)
        homes[kind] = home, mesh.clock.now(), mesh.sent
    return homes


@pytest.fixture
def opened(
    settled_homes: Mapping[str, tuple[Path, int, list[RefHit]]], tmp_path: Path
) -> Iterator[Callable[[str], tuple[SmallMesh, Path]]]:
    """Return a function that copies the settled stores of the given kind of mesh, and opens the copy."""
    meshes: list[SmallMesh] = []

    def open_copy(kind: str) -> tuple[SmallMesh, Path]:
        home, now, sent = settled_homes[kind]
        copy = tmp_path / "home"
        shutil.copytree(home, copy)
        meshes.append(SmallMesh(now, url=f"embedded:{copy}"))
        meshes[-1].sent = list(sent)
        return meshes[-1], copy

    yield open_copy
    for mesh in meshes:
        close(mesh)


def test_lost_rows_do_not_prevent_a_comparison_of_the_other_days(
    opened: Callable[[str], tuple[SmallMesh, Path]],
) -> None:
    mesh, home = opened("history")
    LOSSES["segments"](home, SITE_DAY)
    lost = sum("metrics" in stores for stores in found(mesh).values())
    plan(mesh, [OTHER, SITE], (DAY, DAY + 3), kind=Kind.REPAIR, logic="")
    done(mesh, Work.RECOMPUTE)
    backend = control_backend(mesh.stores, mesh.clock, open_reads=False)
    request = pb.GetReprocessingDiffRequest(name="reprocessings/r", dimension="page_path", cells=True)
    for work in (None, Work.PUBLISH):
        if work is not None:
            done(mesh, work)
        difference = get_reprocessing_diff(backend, OPERATOR_CALLER, request, unwatched)
        assert 0 < difference.lost_site_days == lost
        assert (len(difference.values), len(difference.cells)) == (0, 0)


def arrive_in_time(mesh: SmallMesh, hits: Sequence[RefHit]) -> None:
    """Send each hit at its event time, so that the stream's rows need no correction."""
    for hit in hits:
        mesh.clock.advance(max(0, hit.event_time - mesh.clock.now()))
        mesh.send([hit])
        mesh.heartbeat()
    mesh.stream()


def close(mesh: SmallMesh) -> None:
    mesh.runner.close()
    mesh.stores.close()


def found(mesh: SmallMesh) -> dict[SiteDay, set[str]]:
    """For each damaged site-day, return the stores whose values do not add up."""
    every = problems(mesh.stores, mesh.clock, ["merchants/demo/sites/-"])
    return {SiteDay(each.site, day_of("utc_date", each.utc_date)): stores_of(each) for each in every}


def repair(mesh: SmallMesh) -> None:
    """Repair all days of both sites, and publish the repaired days."""
    plan(mesh, [OTHER, SITE], (DAY, DAY + 3), kind=Kind.REPAIR, logic="")
    assert done(mesh, Work.RECOMPUTE).state is State.DIFF_READY, stored(mesh).error
    assert done(mesh, Work.PUBLISH).state is State.PUBLISHED, stored(mesh).error
    mesh.settle()


def assert_same_report(mesh: SmallMesh) -> None:
    assert differences(mesh.rows(), expected_rows(mesh.sent)) == []
    assert imbalance(mesh) == 0


@pytest.mark.parametrize("loss", LOSSES)
def test_check_names_a_loss_and_a_repair_brings_the_same_report_back(
    opened: Callable[[str], tuple[SmallMesh, Path]], loss: str
) -> None:
    mesh, home = opened("confirmed" if loss.startswith("stream") else "history")
    assert found(mesh) == {}
    LOSSES[loss](home, SITE_DAY)
    assert PLACES[loss] <= found(mesh)[SITE_DAY]
    repair(mesh)
    assert_same_report(mesh)
    assert found(mesh) == {}


def test_check_names_damage_after_a_report_has_read_the_undamaged_rows(
    opened: Callable[[str], tuple[SmallMesh, Path]],
) -> None:
    mesh, home = opened("history")
    generations = {SITE_DAY: mesh.stores.generations.current(SITE, DAY, DAY + 1)[DAY].generation}
    for source, measures in ((RowSource.TRAFFIC, TRAFFIC_MEASURES), (RowSource.VISITS, VISITS_MEASURES)):
        start, end = DAY * DAY_MS, (DAY + 1) * DAY_MS
        question = MetricQuery(source, generations, start, end, (start,), ("site",), measures, include_excluded=True)
        assert mesh.stores.metrics.query(question).height == 1
    LOSSES["a bit of a segment"](home, SITE_DAY)
    assert found(mesh)[SITE_DAY] == {"metrics"}


def test_everything_that_a_site_day_had_except_the_log_is_lost_and_comes_back(
    opened: Callable[[str], tuple[SmallMesh, Path]],
) -> None:
    mesh, home = opened("history")
    for loss in ("rows", "settled series", "raw records", "a bit of a carry"):
        LOSSES[loss](home, SITE_DAY)
    (problem, *_) = problems(mesh.stores, mesh.clock, [SITE])
    assert stores_of(problem) == {"metrics", "series", "raw", "carry"}
    assert (problem.missing_hits, problem.log_hits, problem.lost_hits) == (5, 5, 0)
    repair(mesh)
    assert_same_report(mesh)
    assert found(mesh) == {}
    raw_repair = stored(mesh).raw_repair
    assert raw_repair is not None
    assert (raw_repair.restored_records, raw_repair.lost_hits, raw_repair.named) == (2, 0, ())


@pytest.mark.parametrize("loss", ["raw records", "a bit of a raw record"])
def test_hits_beyond_raw_and_log_are_named_and_their_site_day_never_shrinks(
    opened: Callable[[str], tuple[SmallMesh, Path]], loss: str
) -> None:
    mesh, home = opened("history")
    before = mesh.rows()
    assert mesh.stores.trim(mesh.clock.now() + 1) > 0
    LOSSES[loss](home, SITE_DAY)
    LOSSES["settled series"](home, SiteDay(OTHER, DAY))
    every = {each.site: each for each in problems(mesh.stores, mesh.clock, [SITE], last_utc_date=day_message(DAY))}
    assert (every[SITE].missing_hits, every[SITE].log_hits, every[SITE].lost_hits) == (5, 0, 5)
    repair(mesh)
    raw_repair = stored(mesh).raw_repair
    assert raw_repair is not None
    assert LostHits(SITE_DAY, 5, kept=True) in raw_repair.named
    assert raw_repair.restored_records == 0
    assert mesh.rows() == before
    assert imbalance(mesh) == 0


def test_partials_that_are_lost_or_damaged_before_their_day_is_settled_change_no_report(tmp_path: Path) -> None:
    for number, sql in enumerate(("DELETE FROM series_partials", "UPDATE series_partials SET sums = zeroblob(40)")):
        home = tmp_path / str(number)
        mesh = SmallMesh(DAY * DAY_MS + 1_500 * MINUTE, sites=[SITE], url=f"embedded:{home}")
        mesh.send(HITS[:-1])
        mesh.stream()
        mesh.runner.flush()
        run(home / "raw.db", sql)
        mesh.settle()
        assert_same_report(mesh)
        assert found(mesh) == {}
        close(mesh)
