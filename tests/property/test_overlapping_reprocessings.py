"""Reprocessings of the same days are published and rolled back.

Reports must contain exactly the published corrections.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.rpc.reprocessing.requests import request_work
from hitmesh.model.errors import RefusedError
from hitmesh.model.exclusion import RuleKind
from hitmesh.model.reprocessings import NEXT_STATE, State, Work
from hitmesh.model.zones import DAY_MS
from tests.reference.hits import RefHit
from tests.reference.visits import V0
from tests.support.examples import examples
from tests.support.reprocessing import imbalance, plan, reprocessor_of, stored, work_off
from tests.support.site_rules import add_rule, excluded_where, plan_rules, without_bots
from tests.support.small_mesh import SmallMesh, differences, expected_rows

SITE, DAY = "merchants/demo/sites/alpha", 20_000
LOGICS = {"to v0": "v0", "to v1": "v1"}
PATHS = {"stage": ("/stage",), "admin": ("/stage", "/admin")}
"""Reprocessings by id.

LOGICS maps each reprocessing that changes the logic to the new logic. PATHS maps each reprocessing that applies
exclusion rules to the excluded paths.
"""


def a_hit(minute: int, path: str, visitor: str = "v") -> RefHit:
    """Return a page view at `minute` minutes after the midnight at which DAY begins."""
    return RefHit(SITE, visitor, f"{visitor}-{minute}", DAY * DAY_MS + minute * 60_000, page_path=path)


def a_settled_mesh() -> SmallMesh:
    """Return a mesh with two settled days. The visits of v0 and v1 differ, and each rule matches a hit."""
    mesh = SmallMesh((DAY + 5) * DAY_MS, sites=[SITE])
    mesh.send(
        [a_hit(minute, "/p") for minute in (10, 20, 1_435, 1_445)] + [a_hit(12, "/stage"), a_hit(1_512, "/admin")]
    )
    mesh.settle()
    return mesh


def first_published(mesh: SmallMesh, order: list[str]) -> None:
    """Plan, recompute and publish all four reprocessings in the given order.

    An exclusion rule is added just before the reprocessing that applies the rule is planned.
    """
    for id_ in order:
        if id_ in LOGICS:
            plan(mesh, [SITE], logic=LOGICS[id_], id_=id_)
        else:
            add_rule(mesh.stores.directory, SITE, RuleKind.PAGE, f"^/{id_}")
            plan_rules(mesh, SITE, id_=id_)
        for work in (Work.RECOMPUTE, Work.PUBLISH):
            assert ask(mesh, work, id_)


def ask(mesh: SmallMesh, work: Work, id_: str) -> bool:
    """Request work on a reprocessing, and finish the work. Return whether the request was accepted."""
    mesh.clock.advance(1)
    before = stored(mesh, id_)
    try:
        request_work(mesh.stores.reprocessings, id_, work, mesh.clock.now)
    except RefusedError:
        assert stored(mesh, id_) == before
        return False
    assert work_off(mesh, reprocessor_of(mesh), id_).state is NEXT_STATE[work]
    return True


def is_right(mesh: SmallMesh, published: list[str]) -> bool:
    """Return whether reports have the numbers of the last published logic and the last published rules."""
    logic = next((LOGICS[id_] for id_ in reversed(published) if id_ in LOGICS), "v1")
    paths = next((PATHS[id_] for id_ in reversed(published) if id_ in PATHS), ())
    hits = excluded_where(mesh.sent, lambda hit: hit.page_path in paths)
    expected = expected_rows(hits, V0) if logic == "v0" else expected_rows(hits)
    return not differences(without_bots(mesh.rows()), without_bots(expected)) and imbalance(mesh) == 0


@pytest.mark.timeout(120)
@examples(2)
@given(
    st.sampled_from([list(LOGICS) + list(PATHS), list(PATHS) + list(LOGICS), ["to v0", "stage", "to v1", "admin"]]),
    st.integers(0, 2**16),
)
def test_any_sequence_of_works_leads_to_the_published_corrections_and_refused_works_change_nothing(
    order: list[str], seed: int
) -> None:
    dice = Random(seed)
    mesh = a_settled_mesh()
    first_published(mesh, order)
    published = list(order)
    for number in range(5):
        if dice.randrange(3) == 0:
            mesh.send([a_hit(1_430 + 5 * number, dice.choice(["/stage", "/p"]), f"late-{number % 2}")])
            mesh.heartbeat()
            mesh.settle()
        id_ = dice.choice(order) if dice.randrange(3) else (published or order)[-1]
        is_published = stored(mesh, id_).state is State.PUBLISHED
        work = Work.ROLL_BACK if is_published else Work.PUBLISH
        later = order[order.index(id_) + 1 :]
        accepted = ask(mesh, work, id_)
        assert accepted == set(later).isdisjoint(published)
        if accepted:
            published = [each for each in published if each != id_] + ([] if is_published else [id_])
        mesh.settle()
        assert is_right(mesh, published), (published, work, id_)
