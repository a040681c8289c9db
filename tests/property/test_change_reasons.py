"""For any hits and any versions of the logic, the reasons for a difference add up to the difference in visits."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitmesh.model.change_reasons import ChangeReasons
from hitmesh.model.exclusion import RuleKind
from hitmesh.model.logic import LOGICS, Logic
from hitmesh.model.plan import Kind
from hitmesh.model.reprocessings import Rebuilt, Work
from hitmesh.model.zones import DAY_MS
from tests.generate.strategies import MIDNIGHT_MS, ref_hits
from tests.reference.hits import RefHit
from tests.support.examples import examples
from tests.support.reprocessing import done, plan, rebuilt
from tests.support.site_rules import add_rule, plan_rules
from tests.support.small_mesh import PARTITIONS, SmallMesh

SITES = ("merchants/demo/sites/alpha", "merchants/demo/sites/beta")
LATER = MIDNIGHT_MS + 100 * DAY_MS
"""A log time at which the days of all hits are closed. Each hit therefore arrives after its day has closed."""


def known(each: Rebuilt) -> ChangeReasons:
    """Return the reasons. A changed site-day must have reasons. The reasons must add up to the change."""
    is_changed = each.before.ledger != each.after.ledger or any(
        change.old != change.new for change in each.changes.values()
    )
    assert (each.reasons is not None) == is_changed
    reasons = each.reasons or ChangeReasons()
    visits = each.changes.get("visits")
    assert reasons.visits == (visits.new - visits.old if visits else 0)
    assert reasons.joined_hits == each.after.ledger.accepted - each.before.ledger.accepted
    return reasons


@pytest.mark.timeout(120)
@examples(5)
@given(ref_hits(), st.sampled_from([LOGICS, LOGICS[::-1]]))
def test_without_late_hits_visits_are_only_split_and_merged(hits: list[RefHit], logics: tuple[Logic, Logic]) -> None:
    old, new = logics
    mesh = SmallMesh(LATER, sites=SITES, logic=old)
    mesh.send(hits)
    mesh.settle()
    plan(mesh, SITES, logic=new.name)
    done(mesh, Work.RECOMPUTE)
    for each in rebuilt(mesh):
        reasons = known(each)
        assert reasons.visits == reasons.split_visits - reasons.merged_visits
        assert reasons == ChangeReasons(merged_visits=reasons.merged_visits, split_visits=reasons.split_visits)


@pytest.mark.timeout(120)
@examples(5)
@given(ref_hits(), st.integers(0, 2**16), st.sampled_from(["v0", "v1", ""]))
def test_with_late_hits_the_reasons_add_up(hits: list[RefHit], seed: int, logic: str) -> None:
    dice = Random(seed)
    mesh = SmallMesh(LATER, sites=SITES)
    early = [hit for hit in hits if dice.randrange(2)]
    mesh.send(early)
    mesh.settle()
    mesh.send([hit for hit in hits if hit not in early], dice.randrange(PARTITIONS))
    mesh.heartbeat()
    mesh.stream()
    plan(mesh, SITES, kind=Kind.LOGIC if logic else Kind.REPAIR, logic=logic)
    done(mesh, Work.RECOMPUTE)
    for each in rebuilt(mesh):
        known(each)


@pytest.mark.timeout(120)
@examples(5)
@given(ref_hits(), st.integers(0, 2**16))
def test_reasons_of_changed_rules_are_excluded_hits_and_add_up(hits: list[RefHit], seed: int) -> None:
    dice = Random(seed)
    mesh = SmallMesh(LATER, sites=SITES)
    early = [hit for hit in hits if dice.randrange(2)]
    mesh.send(early)
    mesh.settle()
    hosts = sorted({hit.hostname for hit in hits if hit.hostname}) or ["shop.example"]
    add_rule(mesh.stores.directory, SITES[0], RuleKind.HOST, dice.choice(hosts))
    mesh.send([hit for hit in hits if hit not in early], dice.randrange(PARTITIONS))
    mesh.heartbeat()
    mesh.stream()
    plan_rules(mesh, SITES[0], id_="r")
    done(mesh, Work.RECOMPUTE)
    for each in rebuilt(mesh):
        known(each)
