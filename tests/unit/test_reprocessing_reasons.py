"""Test why a recomputed site-day differs: visits and hits that the old and the new settlement treat differently."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from hitmesh.model.change_reasons import ChangeReasons
from hitmesh.model.generations import LedgerEntry
from hitmesh.model.logic import V0, V1
from hitmesh.model.plan import Kind
from hitmesh.model.reprocessings import Work
from hitmesh.model.sites import SiteDay
from processor.reprocess.hit_sides import COUNTED, DUPLICATE, EXCLUDED, Side, change_reasons, side_of
from processor.reprocess.pace import ReprocessPace
from processor.reprocess.reasons import part_of
from processor.settle.attempt import Attempt
from processor.settle.inputs import DayInputs
from processor.settle.site_window import Window
from tests.reference.hits import RefHit
from tests.support.reprocessing import done, plan, rebuilt
from tests.support.small_mesh import SmallMesh, settler_stores
from tests.unit.reprocessed import a_settled_mesh, arrive, entries
from tests.unit.settling import DAY, MIDNIGHT, MINUTE, SITE, a_hit, a_mesh


def reasons(mesh: SmallMesh, logic: str = "", pace: ReprocessPace | None = None) -> dict[int, ChangeReasons | None]:
    """Recompute all days under `logic`, and return the reasons for changes by day.

    If `logic` is empty, repair the days under their present logic.
    """
    plan(mesh, [SITE], kind=Kind.LOGIC if logic else Kind.REPAIR, logic=logic)
    done(mesh, Work.RECOMPUTE, pace=pace)
    return {each.site_day.day: each.reasons for each in rebuilt(mesh)}


def settled(*hits: RefHit) -> SmallMesh:
    """Return a mesh in which the hits are settled under v1."""
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
    mesh.stores.series.drop([(SiteDay(SITE, DAY), entries(mesh)[DAY].generation)])
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


def a_side(mesh: SmallMesh | None = None) -> tuple[DayInputs, Side]:
    """Settle DAY, and return the inputs and the result. The result can be the old or the new side of a comparison."""
    mesh = mesh or settled(*(a_hit(minute) for minute in (10, 12, 14, 16, 60)))
    bounds = {name: offset + 99 for name, offset in entries(mesh)[DAY].read_through.items()}
    worked = Attempt(settler_stores(mesh.stores), SiteDay(SITE, DAY), bounds, bounds).work()
    assert worked is not None
    rows = rows_of(worked.inputs)
    return worked.inputs, side_of(worked.inputs, rows, np.ones(rows.height, np.bool_))


def rows_of(inputs: DayInputs) -> pl.DataFrame:
    """Return the hits that a settlement has read. The hits must be in memory."""
    assert isinstance(inputs.window, Window)
    return inputs.window.rows


def with_last(side: Side, outcome: int) -> Side:
    """Return a copy of `side` in which the last hit has `outcome`. The last hit is alone in its visit."""
    outcomes = side.outcome.copy()
    outcomes[-1] = outcome
    return replace(side, outcome=outcomes, begun=2 if outcome == COUNTED else 1)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (COUNTED, EXCLUDED, ChangeReasons(newly_excluded_hits=1, removed_visits=1)),
        (COUNTED, DUPLICATE, ChangeReasons(newly_duplicate_hits=1, removed_visits=1)),
        (EXCLUDED, DUPLICATE, ChangeReasons(newly_duplicate_hits=1)),
        (DUPLICATE, EXCLUDED, ChangeReasons(no_longer_duplicate_hits=1)),
    ],
)
def test_hit_that_becomes_excluded_or_a_duplicate_is_counted_once(
    before: int, after: int, expected: ChangeReasons
) -> None:
    inputs, side = a_side()
    old, new = (with_last(side, outcome) for outcome in (before, after))
    hits = rows_of(inputs)
    of_day = np.ones(hits.height, np.bool_)
    assert change_reasons(hits, of_day, side.end, old, new) == expected
    assert change_reasons(hits, of_day, side.end, new, old) == expected.inverse()


def test_excluded_hits_are_excluded_as_each_side_decides() -> None:
    mesh = settled(*(a_hit(minute) for minute in (10, 12, 14, 60)))
    inputs, _ = a_side(mesh)
    rows = rows_of(inputs)
    bots = rows.with_columns(excluded=pl.col("event_time") == MIDNIGHT + 60 * MINUTE)
    read = np.ones(rows.height, np.bool_)
    part = part_of(inputs, inputs, rows, bots, read)
    assert part.reasons == ChangeReasons(newly_excluded_hits=1, removed_visits=1)
    assert (part.visits, part.ledger.excluded) == (2, 0)
    back = part_of(inputs, inputs, bots, rows, read)
    assert back.reasons == part.reasons.inverse()
    assert (back.visits, back.ledger.excluded) == (1, 1)


def test_ranges_of_visitors_add_up_to_the_whole() -> None:
    mesh = settled(*(a_hit(minute, visitor) for minute in (10, 20, 1_435, 1_445) for visitor in "abcdef"))
    inputs, _ = a_side(mesh)
    old, rows = replace(inputs, policy=V0.policy(inputs.policy)), rows_of(inputs)
    read = rows["record"].to_numpy() >= 0
    read[::5] = False
    whole = part_of(old, inputs, rows, rows, read)
    is_early = rows["visitor_lo"] < rows["visitor_lo"].median()
    first, second = (
        part_of(old, inputs, rows.filter(each), rows.filter(each), read[each.to_numpy()])
        for each in (is_early, ~is_early)
    )
    assert first.plus(second) == whole
    assert whole.reasons.merged_visits
