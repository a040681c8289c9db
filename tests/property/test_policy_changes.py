"""If a site's visit policy changes, stream and settlement build the same visits, and settled days stay the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitmesh.model.arrays import I64Array
from hitmesh.model.sites import PolicyChange, VisitPolicy
from hitmesh.model.zones import DAY_MS
from processor.rules.carry import no_open_visits, open_rows
from processor.rules.seam import build_by_start
from processor.rules.visits import ORPHAN, Summaries, build_visits, open_at
from processor.settle.window import WINDOW_COLUMNS
from tests.generate.strategies import MIDNIGHT_MS, ref_hits
from tests.reference.hits import RefHit
from tests.reference.visits import PolicyByDay, RefPolicy
from tests.support.examples import examples
from tests.support.small_mesh import PARTITIONS, SmallMesh, differences, expected_rows, hit_rows

SITES = ("merchants/demo/sites/alpha", "merchants/demo/sites/beta")


def drawn_changes(dice: Random, days: Sequence[int]) -> dict[str, list[PolicyChange]]:
    """Return random policy changes per site.

    Each change takes effect on a day in `days`, or on the day after a day in `days`.
    """
    near = sorted({day + by for day in days for by in (0, 1)})
    return {
        site: [
            PolicyChange(day, dice.random() < 0.5, dice.random() < 0.5)
            for day in sorted(dice.sample(near, min(len(near), dice.randrange(4))))
        ]
        for site in SITES
    }


def by_day(changes: dict[str, list[PolicyChange]], days: Sequence[int]) -> PolicyByDay:
    """Return the policy that the reference must use for each site-day."""
    found: dict[tuple[str, int], RefPolicy] = {}
    for site, of_site in changes.items():
        for day in range(min(days) - 2, max(days) + 3):
            for change in of_site:
                if change.from_day <= day:
                    _, splits, midnight = change
                    found[site, day] = RefPolicy(campaign_splits=splits, split_at_local_midnight=midnight)
    return found


def a_mesh(now: int, changes: dict[str, list[PolicyChange]]) -> SmallMesh:
    mesh = SmallMesh(now, sites=SITES)
    for site, of_site in changes.items():
        for change in of_site:
            mesh.stores.directory.change_policy(site, change)
    return mesh


@pytest.mark.timeout(120)
@examples(4)
@given(ref_hits(), st.integers(0, 2**16))
def test_settlement_and_reference_agree_under_changes(hits: list[RefHit], seed: int) -> None:
    dice = Random(seed)
    days = sorted({hit.event_time // DAY_MS for hit in hits} or {MIDNIGHT_MS // DAY_MS})
    changes = drawn_changes(dice, days)
    mesh = a_mesh(MIDNIGHT_MS + 100 * DAY_MS, changes)
    mesh.send(hits, dice.randrange(PARTITIONS))
    mesh.settle()
    assert differences(mesh.rows(), expected_rows(mesh.sent, by_day=by_day(changes, days))) == []


@pytest.mark.timeout(120)
@examples(3)
@given(ref_hits(20, unique_ids=True, unique_orders=True), st.integers(0, 2**16))
def test_stream_and_settlement_agree_under_changes_that_the_stream_learns_late(hits: list[RefHit], seed: int) -> None:
    """The stream has loaded the sites before any change is stored.

    Each change is stored hours before its day begins.
    """
    dice = Random(seed)
    hits = sorted(hits, key=lambda hit: (hit.event_time, hit.hit_hash))
    days = sorted({hit.event_time // DAY_MS for hit in hits} or {MIDNIGHT_MS // DAY_MS})
    changes = drawn_changes(dice, days)
    mesh = SmallMesh(days[0] * DAY_MS - 3 * DAY_MS, sites=SITES)
    mesh.send([RefHit(site, "early", f"early-{site}", mesh.clock.now()) for site in SITES])
    mesh.stream()
    left = sorted(((each, site) for site, of_site in changes.items() for each in of_site))
    for hit in hits:
        mesh.clock.advance(max(hit.event_time - mesh.clock.now(), 0))
        while left and left[0][0].from_day * DAY_MS <= mesh.clock.now() + DAY_MS:
            change, site = left.pop(0)
            mesh.stores.directory.change_policy(site, change)
        mesh.send([hit], hash_of(hit))
        if dice.randrange(5) == 0:
            mesh.stream()
    mesh.close_days()
    mesh.stream()
    mesh.heartbeat()
    mesh.stream()
    streamed = mesh.rows()
    expected = expected_rows(mesh.sent, by_day=by_day(changes, days))
    visits = {key: row for key, row in expected.items() if key[0] == "visits"}
    assert differences({key: row for key, row in streamed.items() if key[0] == "visits"}, visits) == []
    mesh.settle()
    assert differences(mesh.rows(), expected) == []


def hash_of(hit: RefHit) -> int:
    """Return the partition of the hit's visitor."""
    return sum(hit.visitor.encode()) % PARTITIONS


@examples(15)
@given(ref_hits(), st.integers(0, 2**16))
def test_equal_policies_in_pieces_build_the_visits_of_the_whole(hits: list[RefHit], seed: int) -> None:
    dice = Random(seed)
    rows = hit_rows([hit for hit in hits if hit.site == SITES[0]])
    rows = rows.with_columns(excluded=False).select(
        name for name in WINDOW_COLUMNS if name in {*rows.columns, "excluded"}
    )
    policy = VisitPolicy()
    instants = sorted(MIDNIGHT_MS + dice.randrange(-DAY_MS, 3 * DAY_MS) for _ in range(dice.randrange(4)))
    visit_of, visits = build_by_start(
        rows, no_open_visits(), [(-(2**62), policy), *((at, policy) for at in instants)], "UTC"
    )
    whole = build_visits(rows, no_open_visits(), policy)
    assert sorted(visits.start.tolist()) == sorted(whole.visits.start.tolist())
    assert sorted(zip(visits.start.tolist(), visits.hits.tolist(), visits.last.tolist(), strict=True)) == sorted(
        zip(whole.visits.start.tolist(), whole.visits.hits.tolist(), whole.visits.last.tolist(), strict=True)
    )
    assert [start_of(visit_of, visits, row) for row in range(len(visit_of))] == [
        start_of(whole.visit_of, whole.visits, row) for row in range(len(visit_of))
    ]


def start_of(visit_of: I64Array, visits: Summaries, row: int) -> tuple[int, int] | None:
    """Return the start and the first hit of the visit that contains the hit in `row`.

    If the hit is an orphan, return None.
    """
    number = int(visit_of[row])
    return None if number == ORPHAN else (int(visits.start[number]), int(visits.first[number]))


def test_late_hits_are_settled_under_the_policy_of_their_day() -> None:
    day = MIDNIGHT_MS // DAY_MS
    mesh = a_mesh(MIDNIGHT_MS + 100 * DAY_MS, {SITES[0]: [PolicyChange(day + 1, False, False)]})
    policies = {(SITES[0], day + 1): RefPolicy(campaign_splits=False)}
    minutes = (0, 10, 1_435, 1_445, 1_450, 1_600)
    hits = [
        RefHit(SITES[0], "v", f"h{minute}", MIDNIGHT_MS + minute * 60_000, campaign=("mail", "", str(minute), ""))
        for minute in minutes
    ]
    for part in (hits[::2], hits[1::2]):
        mesh.send(part)
        mesh.settle()
        assert differences(mesh.rows(), expected_rows(mesh.sent, by_day=policies)) == []


def test_hit_may_continue_a_visit_beside_more_carried_in_visits() -> None:
    policy, minute = VisitPolicy(), 60_000
    early = [RefHit(SITES[0], name, name, MIDNIGHT_MS) for name in "abc"]
    before, later = (
        hit_rows(hits).rename({"utm_campaign": "campaign"}).with_columns(excluded=False)
        for hits in (early, [replace(early[1], hit_id="next", event_time=MIDNIGHT_MS + minute)])
    )
    built = build_visits(before, no_open_visits(), policy)
    carried = open_rows(open_at(built, MIDNIGHT_MS + minute, policy), before, no_open_visits())
    _, visits = build_by_start(later, carried, [(0, policy), (MIDNIGHT_MS + DAY_MS, policy)], "UTC")
    assert sorted(visits.first.tolist()) == [-3, -2, -1]
    assert sorted(visits.hits.tolist()) == [1, 1, 2]
