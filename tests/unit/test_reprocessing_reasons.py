"""Why the numbers of a recomputed site-day differ: visits and hits that the two sides treat differently."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from hitmesh.model.change_reasons import ChangeReasons
from hitmesh.model.generations import LedgerEntry
from hitmesh.model.logic import V0, V1
from hitmesh.model.plan import Kind
from hitmesh.model.reprocessings import Work
from hitmesh.model.sites import SiteDay
from processor.reprocess.pace import ReprocessPace
from processor.reprocess.reasons import compared, side_of
from processor.settle.attempt import Attempt
from tests.reference.hits import RefHit
from tests.support.reprocessing import done, plan, rebuilt
from tests.support.small_mesh import SmallMesh, settler_stores
from tests.unit.reprocessed import a_settled_mesh, arrive, entries
from tests.unit.settling import DAY, SITE, a_hit, a_mesh


def reasons(mesh: SmallMesh, logic: str = "", pace: ReprocessPace | None = None) -> dict[int, ChangeReasons | None]:
    """Recompute all days under a logic, or repair them, and return the reasons by day."""
    plan(mesh, [SITE], kind=Kind.LOGIC if logic else Kind.REPAIR, logic=logic)
    done(mesh, Work.RECOMPUTE, pace=pace)
    return {each.site_day.day: each.reasons for each in rebuilt(mesh)}


def settled(*hits: RefHit) -> SmallMesh:
    """Return a mesh whose days are settled under v1."""
    mesh = a_mesh(*hits)
    mesh.settle()
    return mesh


def test_smaller_gap_splits_visits_and_a_larger_gap_merges_them() -> None:
    mesh = a_settled_mesh()
    assert set(reasons(mesh, "v0").values()) == {ChangeReasons(split_visits=1)}
    done(mesh, Work.PUBLISH)
    plan(mesh, [SITE], logic="v1", id_="back")
    done(mesh, Work.RECOMPUTE, "back")
    assert {each.reasons for each in rebuilt(mesh, "back")} == {ChangeReasons(merged_visits=1)}


def test_visit_of_a_day_that_continues_a_visit_of_the_day_before_is_merged_on_its_day() -> None:
    mesh = SmallMesh(a_mesh().clock.now(), sites=[SITE], logic=V0)
    mesh.send([a_hit(1_435), a_hit(1_445)])
    mesh.settle()
    assert reasons(mesh, "v1") == {DAY: ChangeReasons(), DAY + 1: ChangeReasons(merged_visits=1)}


def test_nothing_is_explained_where_nothing_changed() -> None:
    assert set(reasons(a_settled_mesh(), "v1").values()) == {None}


@pytest.mark.parametrize(
    ("before", "late", "expected"),
    [
        ((0, 50), a_hit(25), ChangeReasons(merged_visits=1, joined_hits=1)),
        ((20, 25), a_hit(10), ChangeReasons(moved_visits=1, joined_hits=1)),
        ((10, 12), a_hit(5), ChangeReasons(joined_hits=1)),
        ((20, 25), a_hit(20, "w"), ChangeReasons(added_visits=1, joined_hits=1)),
        ((20, 25), replace(a_hit(20, "w"), excluded=True), ChangeReasons(joined_hits=1)),
        ((20, 25), a_hit(20), ChangeReasons(joined_hits=1)),  # a copy
        ((0, 20), replace(a_hit(10), campaign=("a", "b", "c", "")), ChangeReasons(split_visits=1, joined_hits=1)),
    ],
)
def test_late_hit_changes_visits(before: tuple[float, ...], late: RefHit, expected: ChangeReasons) -> None:
    mesh = settled(*(a_hit(minute) for minute in before))
    arrive(mesh, late)
    assert reasons(mesh) == {DAY: expected}


def test_late_hit_before_midnight_moves_a_visit_to_the_day_before() -> None:
    mesh = settled(a_hit(700), a_hit(1_445))
    arrive(mesh, a_hit(1_435))
    assert reasons(mesh) == {
        DAY: ChangeReasons(moved_visits=1, added_visits=1, joined_hits=1),
        DAY + 1: ChangeReasons(merged_visits=1),
    }


def test_reasons_are_not_known_for_a_day_with_more_hits_than_the_limit() -> None:
    pace = ReprocessPace(explained_hits=1)
    assert set(reasons(a_settled_mesh(), "v0", pace).values()) == {None}


def test_lost_series_is_not_explained_by_hits() -> None:
    mesh = a_settled_mesh()
    mesh.stores.series.drop(SITE, DAY, entries(mesh)[DAY].generation)
    assert reasons(mesh)[DAY] is None


def test_reasons_are_not_known_if_the_built_ledger_is_not_the_stored_ledger() -> None:
    mesh = a_settled_mesh()
    ledger = mesh.stores.generations.ledger

    def with_more(site: str, first_day: int, end_day: int) -> Mapping[int, LedgerEntry]:
        return {day: replace(entry, accepted=9) for day, entry in ledger(site, first_day, end_day).items()}

    mesh.stores.generations.ledger = with_more  # type: ignore[method-assign]  # raw hits were lost since
    assert set(reasons(mesh, "v0").values()) == {None}


def test_rollback_that_recomputes_exchanges_the_sides() -> None:
    mesh = a_settled_mesh()
    assert reasons(mesh, "v0")[DAY] == ChangeReasons(split_visits=1)
    done(mesh, Work.PUBLISH)
    arrive(mesh, a_hit(15))
    mesh.settler.run_once()
    done(mesh, Work.ROLL_BACK)
    first = rebuilt(mesh)[0]
    assert (first.before.logic, first.after.logic) == (V1.number, V0.number)
    assert first.reasons == ChangeReasons(split_visits=2)


def test_hits_that_become_excluded_or_duplicates_are_counted_once() -> None:
    mesh = settled(*(a_hit(minute) for minute in (10, 12, 14, 16, 60)))
    bounds = {name: offset + 99 for name, offset in entries(mesh)[DAY].read_through.items()}
    worked = Attempt(settler_stores(mesh.stores), SiteDay(SITE, DAY), bounds, bounds).work()
    assert worked is not None
    new = side_of(worked.inputs, np.ones(5, np.bool_), worked.visits)
    counted, excluded, duplicate = 1, 2, 3
    for before, after, expected in (
        (counted, excluded, ChangeReasons(newly_excluded_hits=1, removed_visits=1)),
        (excluded, counted, ChangeReasons(no_longer_excluded_hits=1, added_visits=1)),
        (counted, duplicate, ChangeReasons(newly_duplicate_hits=1, removed_visits=1)),
        (duplicate, counted, ChangeReasons(no_longer_duplicate_hits=1, added_visits=1)),
        (duplicate, excluded, ChangeReasons(no_longer_duplicate_hits=1)),
    ):
        sides = []
        for outcome in (before, after):
            outcomes = new.outcome.copy()
            outcomes[4] = outcome  # the hit at 01:00 is alone in its visit
            sides.append(replace(new, outcome=outcomes, begun=2 if outcome == counted else 1))
        assert compared(worked, *sides) == expected
        assert compared(worked, *reversed(sides)) == expected.inverse()
