"""Test checks, repairs, and the reasons for changes after an erasure.

The emptied row of an erased hit counts as a raw hit, and no repair restores an erased hit.
"""

from __future__ import annotations

from hitmesh.model.change_reasons import ChangeReasons
from hitmesh.model.positions import Position
from hitmesh.model.reprocessings import Work
from hitmesh.model.rows.columns import HITS_COLUMNS, unpack_record
from tests.reference.visits import V1
from tests.support.checking import problems, stores_of
from tests.support.erasing import erase, key_of, plan_erasure, without
from tests.support.reprocessing import done, imbalance, plan, rebuilt
from tests.support.small_mesh import SmallMesh, differences, expected_rows
from tests.unit.settling import DAY, NOON, OTHER, SITE, TODAY, TOMORROW, a_hit, an_order
from tests.unit.test_repair import lose, raw_of, repair


def a_mesh() -> SmallMesh:
    """Return a settled mesh. Visitor v has hits on two days and an order. Visitor w pauses for 5 minutes in a visit."""
    mesh = SmallMesh(NOON, sites=[SITE, OTHER])
    mesh.send([a_hit(4), a_hit(5, "w"), a_hit(10, "w"), an_order(30, "o"), a_hit(1_436)])
    mesh.send([a_hit(1_444), an_order(1_500, "o", "w")], partition=1)
    mesh.settle()
    mesh.runner.flush()
    return mesh


def an_erased_mesh() -> SmallMesh:
    """Return the mesh after the erasure of visitor v.

    The log still contains the erased hits, as if the log could not change records.
    """
    mesh = a_mesh()
    logged = [found for position, _, _ in contents(mesh) if (found := mesh.stores.log_eraser.record(position))]
    erase(mesh, SITE, "v")
    mesh.settle()
    mesh.runner.flush()
    assert all(map(mesh.stores.log_eraser.replace, logged))
    return mesh


def contents(mesh: SmallMesh) -> list[tuple[Position, int, bytes]]:
    """Return the position, the log time and the value of each raw record."""
    return [(record.position, record.log_time, record.value) for record in raw_of(mesh, [TODAY, TOMORROW])]


def visitors_in_raw(mesh: SmallMesh) -> set[tuple[int, int]]:
    return {
        key
        for record in raw_of(mesh, [TODAY, TOMORROW])
        for key in unpack_record(record.value, HITS_COLUMNS).select("visitor_hi", "visitor_lo").iter_rows()
    }


def test_a_check_finds_nothing_wrong_after_an_erasure() -> None:
    mesh = an_erased_mesh()
    assert problems(mesh.stores, mesh.clock, [SITE]) == []


def test_a_check_after_an_erasure_finds_lost_records_with_erased_hits() -> None:
    mesh = an_erased_mesh()
    lose(mesh, raw_of(mesh, [TOMORROW]))
    found = problems(mesh.stores, mesh.clock, [SITE])
    assert {store for problem in found for store in stores_of(problem)} == {"raw"}
    assert sum(problem.missing_hits for problem in found) == 2


def test_a_repair_after_an_erasure_does_not_bring_the_hits_back() -> None:
    mesh = an_erased_mesh()
    whole, claims = contents(mesh), mesh.stores.claims.of(SITE, ["o"])
    lose(mesh, raw_of(mesh, [TODAY, TOMORROW]))
    assert repair(mesh).restored_records == 2
    assert contents(mesh) == whole
    assert key_of("v") not in visitors_in_raw(mesh)
    assert mesh.stores.claims.of(SITE, ["o"]) == claims
    mesh.settle()
    assert differences(mesh.rows(), expected_rows(without(mesh.sent, "v"), V1)) == []
    assert imbalance(mesh) == 0
    assert problems(mesh.stores, mesh.clock, [SITE]) == []


def test_a_repair_restores_the_hits_of_a_visitor_whom_only_another_site_erased() -> None:
    mesh = a_mesh()
    erase(mesh, OTHER, "v")
    whole = contents(mesh)
    lose(mesh, raw_of(mesh, [TODAY, TOMORROW]))
    assert repair(mesh).restored_records == 2
    assert contents(mesh) == whole
    assert key_of("v") in visitors_in_raw(mesh)


def test_the_reasons_of_an_erasure_are_not_known() -> None:
    mesh = a_mesh()
    plan_erasure(mesh, SITE, "v")
    done(mesh, Work.RECOMPUTE, "e")
    assert [(each.site_day, each.reasons) for each in rebuilt(mesh, "e")] == [(TODAY, None), (TOMORROW, None)]


def test_the_reasons_of_a_later_reprocessing_are_exact() -> None:
    mesh = an_erased_mesh()
    mesh.send([a_hit(7, hit_id="import"), a_hit(300, "u", hit_id="late")])  # one late hit belongs to the erased visitor
    mesh.stream()
    plan(mesh, [SITE], (DAY, DAY + 1))
    done(mesh, Work.RECOMPUTE)
    (found,) = rebuilt(mesh)
    assert found.before.ledger.erased + 1 == found.after.ledger.erased == 4
    assert found.reasons == ChangeReasons(split_visits=1, added_visits=1, joined_hits=2)
