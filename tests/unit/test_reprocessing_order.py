"""Test overlapping reprocessings, which must be rolled back in the reverse order of their publications."""

from __future__ import annotations

from dataclasses import replace

import pytest

from control.rpc.reprocessing.requests import request_work
from hitmesh.model.errors import RefusedError
from hitmesh.model.exclusion import RuleKind
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.reprocessings import Change, Reprocessing, State, Work
from tests.reference.visits import V0
from tests.support.reprocessing import done, imbalance, plan, rebuilt, reprocessor_of, request, stored, work_off
from tests.support.site_rules import add_rule, apply_rules, expected_under, without_bots
from tests.support.small_mesh import SmallMesh, differences, expected_rows
from tests.unit.reprocessed import a_settled_mesh, arrive
from tests.unit.settling import SITE, a_hit

STAGE = replace(a_hit(12), page_path="/stage")
ADMIN = replace(a_hit(1_512), page_path="/admin")


def ask(mesh: SmallMesh, work: Work, id_: str) -> Reprocessing:
    """Request work through the control service, and finish the work."""
    mesh.clock.advance(1)
    request_work(mesh.stores.reprocessings, id_, work, mesh.clock.now)
    return work_off(mesh, reprocessor_of(mesh), id_)


def refused(mesh: SmallMesh, work: Work, id_: str) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        ask(mesh, work, id_)
    assert caught.value.reason is ErrorReason.REPROCESSING_CONFLICT
    return caught.value


def published_rules() -> SmallMesh:
    """Return a mesh with two published reprocessings.

    The reprocessing "admin" applies one exclusion rule. The later reprocessing "stage" applies the rule of "admin"
    and a second rule.
    """
    mesh = a_settled_mesh(STAGE, ADMIN)
    for path in ("admin", "stage"):
        add_rule(mesh.stores.directory, SITE, RuleKind.PAGE, f"^/{path}")
        apply_rules(mesh, SITE, id_=path)
        mesh.clock.advance(1)
    return mesh


def excludes(mesh: SmallMesh, *paths: str) -> bool:
    """Return whether reports exclude exactly the hits of the given paths."""
    wanted = expected_under(mesh.sent, lambda hit: hit.page_path in paths)
    return not differences(without_bots(mesh.rows()), wanted) and imbalance(mesh) == 0


def test_a_rollback_below_a_later_publication_is_refused_and_names_the_later_one() -> None:
    mesh = published_rules()
    error = refused(mesh, Work.ROLL_BACK, "admin")
    assert error.message == (
        "reprocessings/admin shares site-days with reprocessings/stage, which was published later: "
        "roll reprocessings/stage back first"
    )
    assert (error.variables["reprocessing"], error.variables["state"]) == ("reprocessings/stage", "PUBLISHED")
    assert stored(mesh, "admin").state is State.PUBLISHED
    assert excludes(mesh, "/admin", "/stage")
    ask(mesh, Work.ROLL_BACK, "stage")
    assert excludes(mesh, "/admin")
    ask(mesh, Work.ROLL_BACK, "admin")
    assert excludes(mesh)


def test_reprocessings_are_published_again_in_their_order_and_keep_their_differences() -> None:
    mesh = published_rules()
    for id_ in ("stage", "admin"):
        ask(mesh, Work.ROLL_BACK, id_)
    ask(mesh, Work.PUBLISH, "stage")
    assert excludes(mesh, "/admin", "/stage")
    assert rebuilt(mesh, "stage")[0].changes["hits"] == Change(3, 2)
    error = refused(mesh, Work.PUBLISH, "admin")
    assert "reprocessings/stage, which was published later" in error.message
    ask(mesh, Work.ROLL_BACK, "stage")
    assert excludes(mesh)
    ask(mesh, Work.PUBLISH, "admin")
    ask(mesh, Work.PUBLISH, "stage")
    refused(mesh, Work.ROLL_BACK, "admin")
    assert excludes(mesh, "/admin", "/stage")


def test_a_rollback_of_rules_below_published_logic_is_refused() -> None:
    mesh = a_settled_mesh(STAGE)
    add_rule(mesh.stores.directory, SITE, RuleKind.PAGE, "^/stage")
    apply_rules(mesh, SITE)
    mesh.clock.advance(1)
    plan(mesh, [SITE])
    done(mesh, Work.RECOMPUTE)
    done(mesh, Work.PUBLISH)
    refused(mesh, Work.ROLL_BACK, "rules")
    ask(mesh, Work.ROLL_BACK, "r")
    assert excludes(mesh, "/stage")


def test_a_later_publication_on_other_days_or_sites_excludes_nothing() -> None:
    mesh = a_settled_mesh(STAGE)
    for id_, days in (("first", (0, 1)), ("second", (1, 10**6))):
        plan(mesh, [SITE], days, id_=id_)
        done(mesh, Work.RECOMPUTE, id_)
        done(mesh, Work.PUBLISH, id_)
    assert ask(mesh, Work.ROLL_BACK, "first").state is State.ROLLED_BACK


def test_the_settler_takes_a_work_back_that_would_undo_a_later_publication() -> None:
    mesh = published_rules()
    request(mesh, Work.ROLL_BACK, "admin")  # the request came while `stage` was being published
    found = work_off(mesh, reprocessor_of(mesh), "admin")
    assert (found.state, found.work, found.parts) == (State.PUBLISHED, None, ())
    assert found.error == "roll_back was not begun, because stage was published later: roll stage back first"
    assert excludes(mesh, "/admin", "/stage")
    for id_ in ("stage", "admin"):
        assert ask(mesh, Work.ROLL_BACK, id_).error == ""
    ask(mesh, Work.PUBLISH, "stage")
    request(mesh, Work.PUBLISH, "admin")
    assert work_off(mesh, reprocessor_of(mesh), "admin").state is State.ROLLED_BACK
    assert excludes(mesh, "/admin", "/stage")


def test_values_of_earlier_programs_are_ordered_by_their_last_change() -> None:
    mesh = published_rules()
    for id_ in ("admin", "stage"):
        there = stored(mesh, id_)
        assert mesh.stores.reprocessings.replace(replace(there, published_at=0, version=there.version + 1))
    refused(mesh, Work.ROLL_BACK, "admin")
    assert ask(mesh, Work.ROLL_BACK, "stage").state is State.ROLLED_BACK


@pytest.mark.parametrize("is_late", [False, True])
def test_a_publication_never_takes_the_generation_of_another_reprocessing_for_its_result(is_late: bool) -> None:
    mesh = published_rules()
    # An earlier program has rolled back the first reprocessing although the second was published later.
    there, later = stored(mesh, "admin"), stored(mesh, "stage").published_at + 1
    assert mesh.stores.reprocessings.replace(replace(there, published_at=later, version=there.version + 1))
    for id_ in ("admin", "stage"):
        ask(mesh, Work.ROLL_BACK, id_)
    if is_late:
        arrive(mesh, replace(a_hit(40, "late"), page_path="/stage"))
        mesh.settle()
    ask(mesh, Work.PUBLISH, "stage")
    mesh.settle()
    assert excludes(mesh, "/admin", "/stage")
    assert rebuilt(mesh, "stage")[0].changes["excluded_hits"].new == 1 + is_late


def test_the_earlier_logic_is_not_taken_for_the_logic_of_a_publication() -> None:
    mesh = a_settled_mesh()
    for id_, logic in (("first", "v0"), ("second", "v1")):
        plan(mesh, [SITE], logic=logic, id_=id_)
        for work in (Work.RECOMPUTE, Work.PUBLISH):
            ask(mesh, work, id_)
    for id_ in ("second", "first"):
        ask(mesh, Work.ROLL_BACK, id_)
    for work in (Work.PUBLISH, Work.ROLL_BACK):
        ask(mesh, work, "second")
        assert differences(mesh.rows(), expected_rows(mesh.sent)) == []
    ask(mesh, Work.PUBLISH, "first")
    assert differences(mesh.rows(), expected_rows(mesh.sent, V0)) == []
