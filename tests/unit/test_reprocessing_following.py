"""Test reprocessings that also change visits on days after the planned days.

Planned days and later days are recomputed, published and rolled back together.
"""

from __future__ import annotations

import pytest

from control.rpc.reprocessing.transitions import conflicting
from hitmesh.model.change_reasons import ChangeReasons
from hitmesh.model.logic import V0, V1
from hitmesh.model.plan import Kind
from hitmesh.model.reprocessings import Change, Reprocessing, State, Work
from hitmesh.model.sites import SiteDay
from processor.reprocess.pace import ReprocessPace
from tests.support.reprocessing import (
    SMALL_PORTIONS,
    done,
    imbalance,
    plan,
    rebuilt,
    reprocessor_of,
    request,
    work_off,
)
from tests.support.small_mesh import SmallMesh
from tests.unit.reprocessed import a_settled_mesh, arrive, entries, logics
from tests.unit.settling import DAY, NOON, SITE, a_hit, a_mesh, dirty
from tests.unit.test_reprocessing_missing_hits import lose_raw_hits

# Hits that under v1 are one visit, which begins at 23:50. Under v0, the hits after midnight are in visits of the next
# day.
ACROSS = [a_hit(1_430), a_hit(1_442), a_hit(1_450)]
ONE_DAY = (DAY, DAY + 1)


def a_mesh_across_midnight() -> SmallMesh:
    """Return a mesh in which all days are settled under v0."""
    mesh = SmallMesh(NOON, sites=[SITE], logic=V0)
    mesh.send([*ACROSS, a_hit(3_000)])
    mesh.settle()
    return mesh


def visits(mesh: SmallMesh, id_: str = "r") -> dict[int, Change]:
    return {each.site_day.day: each.changes.get("visits", Change(0, 0)) for each in rebuilt(mesh, id_)}


@pytest.mark.parametrize("pace", [None, SMALL_PORTIONS])
def test_day_after_is_compared_and_published_with_the_plan(pace: ReprocessPace | None) -> None:
    mesh = a_mesh_across_midnight()
    before, rows = entries(mesh), mesh.rows()
    plan(mesh, [SITE], ONE_DAY, logic="v1")
    ready = done(mesh, Work.RECOMPUTE, pace=pace)
    assert (ready.done, ready.following, ready.reach) == (2, 1, DAY + 2)
    assert visits(mesh) == {DAY: Change(1, 1), DAY + 1: Change(2, 0)}
    assert rebuilt(mesh)[1].reasons == ChangeReasons(merged_visits=2)
    published = done(mesh, Work.PUBLISH, pace=pace)
    assert (published.done, published.following) == (2, 1)
    assert logics(mesh) == [V1.number, V0.number, V0.number], "a day that follows keeps its logic"
    assert (dirty(mesh), imbalance(mesh)) == ([], 0)
    after = mesh.rows()
    mesh.settle()
    assert (mesh.rows(), entries(mesh)[DAY + 2]) == (after, before[DAY + 2])
    done(mesh, Work.ROLL_BACK, pace=pace)
    assert (mesh.rows(), dirty(mesh)) == (rows, [])


def test_no_day_follows_where_the_visits_handed_on_stay_the_same() -> None:
    mesh = a_settled_mesh()
    plan(mesh, [SITE], ONE_DAY)
    ready = done(mesh, Work.RECOMPUTE)
    assert (ready.done, ready.following, ready.reach) == (1, 0, DAY + 1)


def test_as_many_days_follow_as_hand_on_other_visits() -> None:
    # The visitor never pauses, so each visit ends at the cap of 24 hours. The late hit moves the start of the first
    # visit, and therefore the ends of the visits on three days.
    hits = [a_hit(minute) for minute in range(20, 4 * 1_440, 20)]
    mesh = a_mesh(*hits)
    mesh.settle()
    arrive(mesh, a_hit(0))
    plan(mesh, [SITE], ONE_DAY, kind=Kind.REPAIR, logic="")
    ready = done(mesh, Work.RECOMPUTE)
    assert (ready.following, ready.reach) == (3, DAY + 4)
    done(mesh, Work.PUBLISH)
    published = mesh.rows()
    mesh.settle()
    assert mesh.rows() == published


def test_recomputation_of_the_following_days_continues_after_a_crash() -> None:
    mesh = a_mesh_across_midnight()
    plan(mesh, [SITE], ONE_DAY, logic="v1")
    request(mesh, Work.RECOMPUTE)
    reprocessor_of(mesh, SMALL_PORTIONS).run_once()
    assert [each.site_day.day for each in rebuilt(mesh)] == [DAY]
    ready = work_off(mesh, reprocessor_of(mesh))
    assert (ready.state, ready.following) == (State.DIFF_READY, 1)
    assert len(rebuilt(mesh)) == 2


def test_cancel_removes_the_rows_of_the_following_days() -> None:
    mesh = a_mesh_across_midnight()
    rows = mesh.rows()
    plan(mesh, [SITE], ONE_DAY, logic="v1")
    done(mesh, Work.RECOMPUTE)
    assert len(rebuilt(mesh)) == 2
    assert done(mesh, Work.CANCEL).state is State.CANCELLED
    assert mesh.rows() == rows
    for each in rebuilt(mesh):
        day = each.site_day.day
        assert mesh.stores.series.read(SITE, day, day + 1, each.after.generation).is_empty()


def test_following_day_that_lost_raw_hits_stays_as_it_is() -> None:
    mesh = SmallMesh(NOON, sites=[SITE], logic=V0)
    for hit in ACROSS:
        mesh.send([hit])
    mesh.settle()
    before = entries(mesh)
    lose_raw_hits(mesh, SiteDay(SITE, DAY + 1))
    plan(mesh, [SITE], ONE_DAY, logic="v1")
    ready = done(mesh, Work.RECOMPUTE)
    assert (ready.state, ready.done, ready.following) == (State.DIFF_READY, 1, 0)
    assert [each.site_day.day for each in rebuilt(mesh)] == [DAY]
    done(mesh, Work.PUBLISH)
    assert (entries(mesh)[DAY + 1], dirty(mesh)) == (before[DAY + 1], [SiteDay(SITE, DAY + 1)])


def test_days_beside_each_other_are_not_open_at_the_same_time() -> None:
    sites = (SITE,)
    first = Reprocessing("first", Kind.LOGIC, "v1", sites, DAY, DAY + 1, 0, 0, State.DIFF_READY)
    beside = Reprocessing("beside", Kind.LOGIC, "v1", sites, DAY + 1, DAY + 2, 0, 0, State.DIFF_READY)
    far = Reprocessing("far", Kind.LOGIC, "v1", sites, DAY + 2, DAY + 3, 0, 0, State.DIFF_READY)
    assert conflicting(first, [first, beside, far]) == [beside]
    assert conflicting(beside, [first, beside]) == [first]
    assert not first.overlaps(beside)
