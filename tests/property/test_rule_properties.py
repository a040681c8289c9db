"""Exclusion rules are applied, changed and removed while hits of the same days arrive.

All rows must equal the reference.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitmesh.model.exclusion import RuleKind
from hitmesh.model.zones import DAY_MS
from tests.generate.strategies import MIDNIGHT_MS, ref_hits
from tests.reference.hits import RefHit
from tests.support.examples import examples
from tests.support.reprocessing import imbalance
from tests.support.site_rules import add_rule, apply_rules, excluded_where, expected_under, remove_rule, without_bots
from tests.support.small_mesh import SmallMesh, differences

SITES = ("merchants/demo/sites/alpha", "merchants/demo/sites/beta")
LATER = MIDNIGHT_MS + 100 * DAY_MS


def a_mesh(hits: list[RefHit]) -> SmallMesh:
    mesh = SmallMesh(LATER, sites=SITES)
    site_days = sorted({(hit.site, hit.event_time // DAY_MS) for hit in hits})
    mesh.send([RefHit(site, "base", f"base-{day}", day * DAY_MS + DAY_MS // 2) for site, day in site_days])
    mesh.settle()
    return mesh


def is_of(site: str, kind: RuleKind, value: str, hit: RefHit) -> bool:
    column = {RuleKind.HOST: hit.hostname, RuleKind.PAGE: hit.page_path, RuleKind.REFERRER: hit.referrer_host}[kind]
    return hit.site == site and (value in (column or "") if kind is RuleKind.PAGE else column == value)


@pytest.mark.timeout(120)
@examples(4)
@given(ref_hits(), st.integers(0, 2**16))
def test_rules_give_the_rows_of_the_reference_and_without_the_rules_the_rows_of_before(
    hits: list[RefHit], seed: int
) -> None:
    mesh, dice = a_mesh(hits), Random(seed)
    early = dice.randint(0, len(hits))
    mesh.send(hits[:early])
    mesh.settle()
    values = {RuleKind.HOST: {hit.hostname for hit in hits}, RuleKind.REFERRER: {hit.referrer_host for hit in hits}}
    choices = sorted((kind, value) for kind, found in values.items() for value in found if value)
    kind, value = dice.choice([*choices, (RuleKind.PAGE, "/")])
    id_ = add_rule(mesh.stores.directory, SITES[0], kind, value)
    apply_rules(mesh, SITES[0], id_="on")
    mesh.send(hits[early:])  # settlement applies the rules of a late hit's day, and ignores the collector's decision
    mesh.settle()

    def matches(hit: RefHit) -> bool:
        return is_of(SITES[0], kind, value, hit)

    assert differences(without_bots(mesh.rows()), expected_under(mesh.sent, matches)) == []
    assert imbalance(mesh) == 0
    excluded, ledgers = excluded_where(mesh.sent, matches), mesh.ledgers()
    assert sum(entry.excluded for entry in ledgers.values()) <= sum(hit.excluded for hit in excluded)
    remove_rule(mesh.stores.directory, SITES[0], id_)
    apply_rules(mesh, SITES[0], id_="off")
    assert differences(without_bots(mesh.rows()), expected_under(mesh.sent, lambda _: False)) == []
    assert imbalance(mesh) == 0
