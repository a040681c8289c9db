"""Test the pure functions of reprocessings.

The functions compare generations, tell the state of a site-day, hand results to later days, and choose the next work.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from hitmesh.model.errors import Unavailable
from hitmesh.model.generations import GenerationEntry, LedgerEntry
from hitmesh.model.logic import V0
from hitmesh.model.plan import Kind
from hitmesh.model.positions import Position
from hitmesh.model.reprocessings import Change, GenerationVersion, Rebuilt, Reprocessing, State, Work
from hitmesh.model.sites import SiteDay
from hitmesh.model.sketches.unions import cell_sketches
from hitmesh.runtime.telemetry import unmeasured
from processor.reprocess.chain import Chain
from processor.reprocess.changes import changes_of
from processor.reprocess.schedule import expired, removable, to_work_on
from processor.reprocess.sides import Standing, flags_to_set, hand_on_the_same, standing, wanted
from processor.rules.carry import CARRY_COLUMNS, Carry, no_open_visits
from processor.settle.loop import run_in_turns
from tests.support.stream_builders import settled

SITE, DAY = "merchants/m/sites/s", 20_000
CLAIM, OTHER_CLAIM = (Position("log", 0, 5), 1), (Position("log", 0, 6), 0)
NOTHING_OPEN = Carry(no_open_visits()).to_bytes()
OPEN = Carry(pl.DataFrame([dict.fromkeys(CARRY_COLUMNS)], schema=CARRY_COLUMNS)).to_bytes()


def sketch(*visitors: int) -> bytes:
    """Return the sketch of a cell that contains the given visitors."""
    return bytes(cell_sketches(np.array(visitors, np.uint64), np.zeros(len(visitors), np.int64), 1)[0].as_py())


def a_row(cell: int, **values: Any) -> dict[str, Any]:
    return {"site": SITE, "day": DAY, "cell": cell, "currency": "", "excluded": False} | values


def a_version(generation: int, logic: int = 2, carry: bytes = NOTHING_OPEN) -> GenerationVersion:
    return GenerationVersion(generation, logic, {}, LedgerEntry(1, 1, 0, 0, 5, 5), carry)


def a_rebuilt(day: int = DAY, **fields: Any) -> Rebuilt:
    flags = {CLAIM: True}
    return replace(Rebuilt(SiteDay(SITE, day), a_version(1), a_version(2, logic=0), 7, flags, {}), **fields)


def an_entry(generation: int, sequence: int, logic: int) -> GenerationEntry:
    return GenerationEntry(generation, sequence, logic, {}, published_at=0)


def test_sums_beyond_an_int64_are_exact_and_excluded_rows_are_not_compared() -> None:
    old = settled(*(a_row(cell, hits=1, gross_revenue=10**18) for cell in range(10)))
    new = settled(a_row(0, hits=3), a_row(1, hits=5, gross_revenue=7, excluded=True))
    assert changes_of(old, new) == {"hits": Change(10, 3), "gross_revenue": Change(10**19, 0)}


def test_visitors_are_counted_once_over_the_cells_and_measures_without_a_value_are_absent() -> None:
    old = settled(a_row(0, hits=2, visitors=sketch(1, 2)), a_row(1, hits=1, visitors=sketch(2, 3)))
    new = settled(a_row(0, hits=2, visitors=sketch(1)), a_row(1, hits=1, visitors=None))
    assert changes_of(old, new) == {"hits": Change(3, 3), "visitors": Change(3, 1)}
    assert changes_of(settled(), settled()) == {}


@pytest.mark.parametrize(
    ("entry", "publish", "roll_back"),
    [
        (an_entry(1, 7, 2), Standing.AS_LEFT, Standing.MOVED),
        (an_entry(2, 7, 0), Standing.MOVED, Standing.AS_LEFT),
        (an_entry(2, 8, 0), Standing.MOVED, Standing.STALE),
        (an_entry(3, 8, 2), Standing.STALE, Standing.SETTLED_SINCE),
        (an_entry(3, 8, 0), Standing.SETTLED_SINCE, Standing.STALE),
        (an_entry(3, 8, 5), Standing.STALE, Standing.STALE),
    ],
)
def test_entry_shows_whether_a_site_day_is_moved_left_or_settled_since(
    entry: GenerationEntry, publish: Standing, roll_back: Standing
) -> None:
    rebuilt = a_rebuilt()
    assert standing(rebuilt, Work.PUBLISH, entry) is publish
    assert standing(rebuilt, Work.ROLL_BACK, entry) is roll_back


def test_site_day_settled_since_is_stale_if_both_generations_have_one_logic() -> None:
    rebuilt = a_rebuilt(after=a_version(2))
    assert standing(rebuilt, Work.PUBLISH, an_entry(3, 8, 2)) is Standing.STALE


def test_rollback_wants_the_old_generation_and_inverts_the_flags() -> None:
    rebuilt = a_rebuilt()
    assert [wanted(rebuilt, work).generation for work in (Work.PUBLISH, Work.ROLL_BACK)] == [2, 1]
    assert [flags_to_set(rebuilt, work) for work in (Work.PUBLISH, Work.ROLL_BACK)] == [{CLAIM: True}, {CLAIM: False}]


def test_day_after_depends_on_open_visits_and_on_their_logic_and_a_damaged_carry_differs() -> None:
    followed = Carry(no_open_visits(), followed=9).to_bytes()
    assert hand_on_the_same(a_version(1), a_version(2, logic=0, carry=followed))
    assert not hand_on_the_same(a_version(1), a_version(2, carry=b"rot"))
    assert not hand_on_the_same(a_version(1, carry=b"rot"), a_version(2, carry=b"rot"))
    assert hand_on_the_same(a_version(1, carry=OPEN), a_version(2, carry=OPEN))
    assert hand_on_the_same(a_version(1, carry=OPEN), a_version(2, logic=1, carry=OPEN))
    assert not hand_on_the_same(a_version(1, carry=OPEN), a_version(2, logic=0, carry=OPEN))
    assert not hand_on_the_same(a_version(1, carry=OPEN), a_version(2))


def test_chain_hands_the_carry_to_the_next_day_and_the_flags_to_all_later_days_of_the_site() -> None:
    chain = Chain().then(a_rebuilt(), Work.RECOMPUTE).then(a_rebuilt(DAY + 1, flags={OTHER_CLAIM: False}), Work.PUBLISH)
    flags = {CLAIM: True, OTHER_CLAIM: False}
    following, later = chain.handed(SiteDay(SITE, DAY + 2)), chain.handed(SiteDay(SITE, DAY + 4))
    assert following.carry is not None
    assert following.logic == V0
    assert (later.carry, following.flags, later.flags) == (None, flags, flags)
    assert chain.handed(SiteDay(f"{SITE}2", DAY + 2)).flags == {}
    left = chain.past(SiteDay(SITE, DAY + 2)).handed(SiteDay(SITE, DAY + 3))
    assert (left.carry, left.flags) == (None, flags)


def a_reprocessing(id_: str, created_at: int, state: State = State.RUNNING, **fields: Any) -> Reprocessing:
    whole = Reprocessing(id_, Kind.LOGIC, "v1", (SITE,), 5, 9, created_at, created_at, state, Work.RECOMPUTE)
    return replace(whole, **fields)


@pytest.mark.parametrize("older", [State.RUNNING, State.DIFF_READY, State.FAILED])
def test_oldest_running_reprocessing_comes_first_and_waits_for_older_open_ones(older: State) -> None:
    first = a_reprocessing("a", 1, older)
    young = a_reprocessing("b", 2)
    apart = a_reprocessing("c", 3, first_day=9, end_day=12)
    expected = [first, apart] if older is State.RUNNING else [apart]
    assert list(to_work_on([apart, young, first])) == expected
    assert list(to_work_on([young, replace(first, state=State.PUBLISHED)])) == [young]
    assert list(to_work_on([replace(young, state=State.DIFF_READY)])) == []
    assert list(to_work_on([apart, first], waiting={"a"})) == [apart]
    assert list(to_work_on([young, first], waiting={"a"})) == []


def test_only_plans_expire_and_only_expired_and_finished_reprocessings_are_removed() -> None:
    states = {state: a_reprocessing(state, 1, state) for state in State}
    assert expired(states.values(), 2) == [states[State.PLANNED]]
    finished = [states[state] for state in (State.PUBLISHED, State.ROLLED_BACK, State.CANCELLED, State.ERASED)]
    assert removable(states.values(), 2, 1) == [states[State.EXPIRED]]
    assert removable(states.values(), 1, 2) == finished
    assert not expired(states.values(), 1)
    assert not removable(states.values(), 1, 1)


def test_passes_run_in_turns_and_a_failed_pass_ends_the_turn() -> None:
    stop, ran = threading.Event(), list[str]()

    def first() -> int:
        ran.append("first")
        if len(ran) == 3:
            raise Unavailable("the store does not answer", retry_after_s=0.0)
        return 1

    def second() -> int:
        ran.append("second")
        if len(ran) > 4:
            stop.set()
        return 0

    run_in_turns((first, second), stop, unmeasured(), pause_s=0.0)
    assert ran == ["first", "second", "first", "first", "second"]
