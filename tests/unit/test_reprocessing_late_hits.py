"""Test late hits, visits across midnight, orders and refunds before, during and after a reprocessing."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from hitmesh.model.logic import V0, V1
from hitmesh.model.reprocessings import Change, State, Work
from hitmesh.model.zones import DAY_MS
from processor.reprocess.pace import ReprocessPace
from processor.rules.carry import Carry
from tests.reference.visits import V0 as V0_RULES
from tests.support.reprocessing import (
    SMALL_PORTIONS,
    done,
    imbalance,
    plan,
    rebuilt,
    reprocessor_of,
    request,
    stored,
    work_off,
)
from tests.support.small_mesh import differences, expected_rows
from tests.unit.reprocessed import HITS, a_settled_mesh, arrive, entries, flags_of, in_small_portions, logics
from tests.unit.settling import (
    DAY,
    NOON,
    SITE,
    TODAY,
    TOMORROW,
    a_hit,
    a_mesh,
    an_order,
    dirty,
    entry,
)


def test_late_hit_after_a_publication_keeps_the_new_logic_and_a_rollback_keeps_the_late_hit() -> None:
    mesh = a_settled_mesh()
    old = entries(mesh)
    plan(mesh, [SITE])
    done(mesh, Work.RECOMPUTE)
    done(mesh, Work.PUBLISH)
    new = entries(mesh)
    arrive(mesh, a_hit(1_505))
    mesh.settle()
    assert logics(mesh) == [V0.number] * 3
    assert differences(mesh.rows(), expected_rows(mesh.sent, V0_RULES)) == []
    done(mesh, Work.ROLL_BACK)
    assert logics(mesh) == [V1.number] * 3
    assert differences(mesh.rows(), expected_rows(mesh.sent)) == []
    restored = {day: entry.generation for day, entry in entries(mesh).items()}
    assert restored[DAY] == old[DAY].generation
    assert restored[DAY + 1] not in (old[DAY + 1].generation, new[DAY + 1].generation)
    assert restored[DAY + 2] == old[DAY + 2].generation
    assert (imbalance(mesh), dirty(mesh)) == (0, [])
    done(mesh, Work.PUBLISH)
    assert logics(mesh) == [V0.number] * 3
    assert differences(mesh.rows(), expected_rows(mesh.sent, V0_RULES)) == []
    assert imbalance(mesh) == 0


@pytest.mark.parametrize("is_settled", [False, True])
@pytest.mark.parametrize("arrives_before", [Work.RECOMPUTE, Work.PUBLISH, Work.ROLL_BACK])
def test_late_hit_is_in_the_ledger_and_in_the_end_in_every_report(arrives_before: Work, is_settled: bool) -> None:
    mesh = a_settled_mesh()
    plan(mesh, [SITE])
    for work in (Work.RECOMPUTE, Work.PUBLISH, Work.ROLL_BACK):
        if work is arrives_before:
            arrive(mesh, a_hit(1_505), a_hit(1_506, "w"), a_hit(1_435))
            if is_settled:
                mesh.settle()
        done(mesh, work)
        assert imbalance(mesh) == 0
    waits = bool(dirty(mesh))
    mesh.settle()
    assert imbalance(mesh) == 0
    assert differences(mesh.rows(), expected_rows(mesh.sent)) == []
    assert waits or is_settled


def test_hits_that_only_the_new_generation_counts_stay_marked() -> None:
    mesh = a_settled_mesh()
    arrive(mesh, a_hit(15))
    plan(mesh, [SITE])
    done(mesh, Work.RECOMPUTE)
    assert (dirty(mesh), imbalance(mesh)) == ([TODAY], 0)
    assert rebuilt(mesh)[0].changes["hits"] == Change(2, 3)
    done(mesh, Work.PUBLISH)
    assert (dirty(mesh), imbalance(mesh)) == ([TODAY], 0)
    done(mesh, Work.ROLL_BACK)
    assert (dirty(mesh), imbalance(mesh)) == ([TODAY], 0)


def test_portion_ends_in_time_and_the_settler_settles_between_portions() -> None:
    mesh = a_settled_mesh()
    plan(mesh, [SITE])
    for work in (Work.RECOMPUTE, Work.PUBLISH, Work.ROLL_BACK):
        request(mesh, work)
        reprocessor = reprocessor_of(mesh, SMALL_PORTIONS)
        portions = []
        while stored(mesh).state is State.RUNNING:
            portions.append(reprocessor.run_once())
            assert stored(mesh).done == sum(portions)
            arrive(mesh, a_hit(1_510 + len(portions), f"late-{work}-{len(portions)}"))
            mesh.clock.advance(1)
            mesh.settler.run_once()
            assert imbalance(mesh) == 0
        assert portions[:3] == [1, 1, 1]
        mesh.settle()
    assert differences(mesh.rows(), expected_rows(mesh.sent)) == []


@pytest.mark.parametrize("work", [Work.PUBLISH, Work.ROLL_BACK])
def test_days_that_were_settled_since_are_moved_together_although_their_rows_take_long(work: Work) -> None:
    mesh = a_settled_mesh()
    plan(mesh, [SITE])
    done(mesh, Work.RECOMPUTE)
    if work is Work.ROLL_BACK:
        done(mesh, Work.PUBLISH)
    arrive(mesh, a_hit(11), a_hit(1_501), a_hit(3_001))
    mesh.settle()
    write = mesh.stores.sink.write

    def slow(traffic: pl.DataFrame, visits: pl.DataFrame) -> None:
        write(traffic, visits)
        mesh.clock.advance(ReprocessPace().portion_ms + 1)

    mesh.stores.sink.write = slow  # type: ignore[method-assign]  # a store that needs longer than a portion
    request(mesh, work)
    assert reprocessor_of(mesh).run_once() == 3
    assert logics(mesh) == [V0.number if work is Work.PUBLISH else V1.number] * 3
    assert imbalance(mesh) == 0


def test_carry_is_handed_on_after_a_restart() -> None:
    # Under v1, the visits that are open at midnight began with another page than under v0.
    mesh = a_mesh(a_hit(1_430), a_hit(1_439), a_hit(1_441), a_hit(2_870), a_hit(2_879.5), a_hit(2_881))
    mesh.settle()
    plan(mesh, [SITE])
    in_small_portions(mesh, Work.RECOMPUTE)
    done(mesh, Work.PUBLISH)
    assert differences(mesh.rows(), expected_rows(mesh.sent, V0_RULES)) == []
    assert not dirty(mesh)


def test_flags_of_claims_are_handed_on_after_a_restart_and_are_set_and_taken_back() -> None:
    mesh = a_settled_mesh()
    # The first claim on the order belongs to a copy. The second claim, whose hit is two days later, therefore gets the
    # order.
    copy = replace(an_order(21, "o"), hit_id=HITS[1].hit_id)
    arrive(mesh, copy, an_order(3_005, "o", "w"))
    plan(mesh, [SITE])
    in_small_portions(mesh, Work.RECOMPUTE)
    assert list(rebuilt(mesh)[0].flags.values()) == [True]

    assert flags_of(mesh, "o") == [False, False]
    done(mesh, Work.PUBLISH)
    assert flags_of(mesh, "o") == [True, False]
    assert differences(mesh.rows(), expected_rows(mesh.sent, V0_RULES)) == []
    done(mesh, Work.ROLL_BACK)
    assert flags_of(mesh, "o") == [False, False]
    mesh.settle()
    assert flags_of(mesh, "o") == [True, False]
    assert differences(mesh.rows(), expected_rows(mesh.sent)) == []


def test_day_settled_since_is_recomputed_from_the_new_carry_of_the_day_before() -> None:
    mesh = a_mesh(a_hit(1_430), a_hit(1_439), a_hit(1_441), a_hit(1_500))
    mesh.settle()
    plan(mesh, [SITE])
    done(mesh, Work.RECOMPUTE)
    arrive(mesh, a_hit(1_501))
    mesh.settle()
    done(mesh, Work.PUBLISH)
    assert differences(mesh.rows(), expected_rows(mesh.sent, V0_RULES)) == []
    assert not dirty(mesh)


def test_restored_day_is_marked_if_the_recomputed_day_before_hands_on_another_carry() -> None:
    mesh = a_mesh(a_hit(1_430), a_hit(1_435), a_hit(1_445))
    mesh.settle()
    plan(mesh, [SITE])
    done(mesh, Work.RECOMPUTE)
    done(mesh, Work.PUBLISH)
    # The late hit's visit ends before midnight under v0, and is still open at midnight under v1.
    arrive(mesh, a_hit(1_425))
    mesh.settle()
    done(mesh, Work.ROLL_BACK)
    assert dirty(mesh) == [TOMORROW]
    mesh.settle()
    assert differences(mesh.rows(), expected_rows(mesh.sent)) == []


def test_day_settled_since_under_the_wanted_logic_is_settled_again_from_the_new_carry() -> None:
    mesh = a_mesh(a_hit(1_430), a_hit(1_439), a_hit(1_441))
    mesh.settle()
    plan(mesh, [SITE])
    done(mesh, Work.RECOMPUTE)
    request(mesh, Work.PUBLISH)
    reprocessor = reprocessor_of(mesh, SMALL_PORTIONS)
    assert [reprocessor.run_once(), reprocessor.run_once(), stored(mesh).state] == [1, 1, State.RUNNING]
    arrive(mesh, a_hit(1_442))
    mesh.settle()
    there, before = entry(mesh, TOMORROW), rebuilt(mesh)[1].before
    work_off(mesh, reprocessor_of(mesh))  # repeats portions, as after a crash
    assert logics(mesh) == [V0.number] * 2
    assert (entry(mesh, TOMORROW), rebuilt(mesh)[1].before) == (there, before)
    assert dirty(mesh) == [TODAY, TOMORROW]
    mesh.settle()
    assert differences(mesh.rows(), expected_rows(mesh.sent, V0_RULES)) == []


def test_flags_of_a_day_recomputed_for_a_rollback_belong_to_the_old_generation() -> None:
    mesh = a_settled_mesh()
    plan(mesh, [SITE])
    done(mesh, Work.RECOMPUTE)
    done(mesh, Work.PUBLISH)
    arrive(mesh, a_hit(15))
    mesh.settle()
    arrive(mesh, replace(an_order(21, "o"), hit_id=HITS[1].hit_id))

    for work, flag in ((Work.ROLL_BACK, True), (Work.PUBLISH, False), (Work.ROLL_BACK, True)):
        done(mesh, work)
        assert flags_of(mesh, "o") == [flag]
        assert imbalance(mesh) == 0
    mesh.settle()
    assert differences(mesh.rows(), expected_rows(mesh.sent)) == []


def test_visits_across_both_ends_of_the_range_follow_the_logic_of_the_day_on_which_they_begin() -> None:
    first = [a_hit(-5), a_hit(4), a_hit(1_436, "w"), a_hit(1_444, "w")]
    last = [a_hit(minute, "x") for minute in (-2, 1, 5, 1_439, 1_441, 1_450, 2_870)]
    mesh = a_mesh(*first, *last)
    mesh.settle()
    rows, under_v0 = mesh.rows(), {(SITE, DAY): V0_RULES}
    plan(mesh, [SITE], (DAY, DAY + 1))
    done(mesh, Work.RECOMPUTE)
    assert [each.site_day for each in rebuilt(mesh)] == [TODAY, TOMORROW]
    done(mesh, Work.PUBLISH)
    assert not dirty(mesh)
    assert logics(mesh) == [V1.number, V0.number, V1.number]
    assert differences(mesh.rows(), expected_rows(mesh.sent, by_day=under_v0)) == []
    done(mesh, Work.ROLL_BACK)
    assert not dirty(mesh)
    assert mesh.rows() == rows
    done(mesh, Work.PUBLISH)
    arrive(mesh, a_hit(2, "x"), a_hit(-1, "w"), a_hit(1_437, "w"), a_hit(1_446, "x"))
    mesh.settle()
    assert differences(mesh.rows(), expected_rows(mesh.sent, by_day=under_v0)) == []
    assert imbalance(mesh) == 0


def test_day_after_the_range_is_recomputed_if_only_the_logic_of_its_open_visits_changes() -> None:
    mesh = a_mesh(a_hit(1_439), a_hit(1_450))
    mesh.settle()
    plan(mesh, [SITE], (DAY, DAY + 1))
    done(mesh, Work.RECOMPUTE)
    before, after = (Carry.from_bytes(side.carry) for side in (rebuilt(mesh)[0].before, rebuilt(mesh)[0].after))
    assert before.hands_on_the_same(after)
    for work, by_day in ((Work.PUBLISH, {(SITE, DAY): V0_RULES}), (Work.ROLL_BACK, {})):
        done(mesh, work)
        assert not dirty(mesh)
        assert differences(mesh.rows(), expected_rows(mesh.sent, by_day=by_day)) == []


def test_orders_and_refunds_in_and_outside_the_range_count_once() -> None:
    order, refund = (
        an_order(10, "o"),
        replace(a_hit(1_700, "w"), type="REFUND", order_id="o", currency="USD", refund_micros=0),
    )
    later = an_order(3_100, "p", "x")
    mesh = a_mesh(*HITS, order, later, replace(refund, interactive=False), a_hit(-2_000), a_hit(4_400))
    mesh.settle()
    plan(mesh, [SITE], (DAY, DAY + 2))
    done(mesh, Work.RECOMPUTE)
    # Further claims on orders arrive, with log times before and after the recomputation. These claims take orders from
    # other claims, on days within and outside the reprocessed range.
    mesh.send([an_order(-1_990, "p", "y"), an_order(1_720, "q", "z")], collected_at=NOON - DAY_MS)
    arrive(mesh, an_order(4_410, "q", "u"), an_order(12, "o", "again"))
    done(mesh, Work.PUBLISH)
    assert imbalance(mesh) == 0
    mesh.settle()
    measures = ("orders", "gross_revenue", "refunds", "hits", "duplicate_hits")

    def sums() -> dict[str, int]:
        return {name: sum(row.get(name, 0) for row in mesh.rows().values()) for name in measures}

    expected = expected_rows(mesh.sent)
    assert sums() == {name: sum(row.get(name, 0) for row in expected.values()) for name in measures}
    done(mesh, Work.ROLL_BACK)
    assert imbalance(mesh) == 0
    mesh.settle()
    assert differences(mesh.rows(), expected) == []
