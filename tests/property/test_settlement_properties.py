"""Settled rows must equal the reference. Settled rows must also keep the invariants of settled rows in rules.md §10."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise
from random import Random

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitmesh.model.logic import CURRENT, LOGICS, V0, V1, Logic
from hitmesh.model.queries import MetricQuery
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.sites import SiteDay
from hitmesh.model.zones import DAY_MS
from processor.rules.carry import no_open_visits, open_rows
from processor.rules.copies import find_copies
from processor.rules.visits import build_visits, open_at
from tests.generate.hits import generate_hits, second_file
from tests.generate.strategies import MIDNIGHT_MS, policies, ref_hits
from tests.reference.hits import Position, RefHit
from tests.reference.visits import V1 as RULES
from tests.reference.visits import RefPolicy, duplicates, visits_of_one
from tests.support.examples import examples
from tests.support.small_mesh import (
    PARTITIONS,
    Key,
    Rows,
    SmallMesh,
    differences,
    expected_rows,
    hit_rows,
    policy_under,
    visit_policy,
)
from tests.support.unions import union_by_group

SITES = ("merchants/demo/sites/alpha", "merchants/demo/sites/beta")
NOW = MIDNIGHT_MS + DAY_MS
"""A time between the earliest and the latest hit, so that some hits are late."""

SEEDS = st.integers(0, 2**16)
ANY_LOGIC = st.sampled_from(LOGICS)
FEW = examples(4)
"""Settings with few examples, for properties whose examples settle several days on two sites."""


def window_rows(hits: Sequence[RefHit]) -> pl.DataFrame:
    """Return hits as a table with the columns that the pure functions need."""
    excluded = pl.Series("excluded", [hit.excluded for hit in hits], pl.Boolean)
    return hit_rows(hits).rename({"utm_campaign": "campaign"}).with_columns(excluded)


def settled(hits: Sequence[RefHit], policy: RefPolicy = RULES, seed: int = 0, logic: Logic = CURRENT) -> SmallMesh:
    """Return a mesh that has settled the hits. The hits were appended in the given order, in random records."""
    dice = Random(seed)
    mesh = SmallMesh(NOW, policy, SITES, logic, sort_site_days=dice.choice((1, 64)))
    send(mesh, hits, dice)
    mesh.settle()
    return mesh


def send(mesh: SmallMesh, hits: Sequence[RefHit], dice: Random) -> None:
    """Append the hits in records of random size to random partitions."""
    start = 0
    while start < len(hits):
        end = start + dice.randint(1, 20)
        mesh.send(hits[start:end], dice.randrange(PARTITIONS), collected_at=NOW - dice.choice((0, 0, DAY_MS)))
        start = end


def total(rows: Rows, measure: str, *, with_excluded: bool = True) -> int:
    return sum(row.get(measure, 0) for key, row in rows.items() if key[1] == with_excluded)


def without(rows: Rows, *measures: str) -> Rows:
    kept = {key: {name: value for name, value in row.items() if name not in measures} for key, row in rows.items()}
    return {key: row for key, row in kept.items() if row}


@given(ref_hits())
def test_copies_are_those_of_the_reference(hits: list[RefHit]) -> None:
    for site in SITES:
        of_site = sorted((hit for hit in hits if hit.site == site), key=lambda hit: hit.position)
        if of_site:
            found = find_copies(window_rows(of_site)).is_copy
            expected = {hit.position for hit in duplicates(of_site)}
            assert [hit.position in expected for hit in of_site] == found.tolist()


@given(ref_hits(max_hits=120, unique_ids=True), policies())
def test_visits_are_those_of_the_reference(hits: list[RefHit], policy: RefPolicy) -> None:
    for site in SITES:
        of_site = [hit for hit in hits if hit.site == site]
        if of_site:
            rows = window_rows(of_site)
            built = build_visits(rows, no_open_visits(), visit_policy(policy), policy.midnight_zone)
            found = defaultdict(set)
            for hit, visit in zip(of_site, built.visit_of.tolist(), strict=True):
                found[visit].add(hit.position)
            orphans = found.pop(-1, set())
            visits, expected_orphans = reference_visits(of_site, policy)
            assert orphans == expected_orphans
            assert sorted(map(sorted, found.values())) == visits
            assert built.visits.bot_behaviour.sum() <= len(visits)


def reference_visits(hits: Sequence[RefHit], policy: RefPolicy) -> tuple[list[list[Position]], set[Position]]:
    """Return the positions of the hits of each visit, and the positions of the orphans."""
    timelines = defaultdict(list)
    for hit in hits:
        timelines[hit.visitor, hit.excluded].append(hit)
    visits: list[list[Position]] = []
    orphans: set[Position] = set()
    for timeline in timelines.values():
        of_one, orphans_of_one = visits_of_one(timeline, policy)
        visits += [sorted(hit.position for hit in visit.hits) for visit in of_one]
        orphans |= {hit.position for hit in orphans_of_one}
    return sorted(visits), orphans


@pytest.mark.timeout(120)
@given(ref_hits(max_hits=120, unique_ids=True), policies())
def test_visits_day_by_day_with_a_carry_are_those_of_all_days_at_once(hits: list[RefHit], policy: RefPolicy) -> None:
    of_site = sorted((hit for hit in hits if hit.site == SITES[0]), key=lambda hit: hit.event_time)
    product_policy, carry = visit_policy(policy), no_open_visits()
    starts: list[int] = []
    for day in range(NOW // DAY_MS - 3, NOW // DAY_MS + 20):
        rows = window_rows([hit for hit in of_site if hit.event_time // DAY_MS == day])
        built = build_visits(rows, carry, product_policy, policy.midnight_zone)
        starts += built.visits.start[built.visits.first >= 0].tolist()
        carry = open_rows(open_at(built, (day + 1) * DAY_MS, product_policy), rows, carry)
    at_once = build_visits(window_rows(of_site), no_open_visits(), product_policy, policy.midnight_zone)
    assert sorted(starts) == sorted(at_once.visits.start.tolist())


@pytest.mark.timeout(120)
@FEW
@given(ref_hits(), policies(), SEEDS, ANY_LOGIC)
def test_settled_rows_are_those_of_the_reference(
    hits: list[RefHit], policy: RefPolicy, seed: int, logic: Logic
) -> None:
    mesh = settled(hits, policy, seed, logic)
    assert differences(mesh.rows(), expected_rows(mesh.sent, policy_under(logic, policy))) == []


@pytest.mark.timeout(120)
@FEW
@given(ref_hits(), policies(), st.lists(st.integers(0, 60), max_size=4), SEEDS, ANY_LOGIC)
def test_hits_that_arrive_in_rounds_settle_as_all_at_once(
    hits: list[RefHit], policy: RefPolicy, cuts: list[int], seed: int, logic: Logic
) -> None:
    mesh, dice = SmallMesh(NOW, policy, SITES, logic), Random(seed)
    edges = [0, *sorted(cuts), len(hits)]
    for start, end in pairwise(edges):
        send(mesh, hits[start:end], dice)
        mesh.settle()
    assert differences(mesh.rows(), expected_rows(mesh.sent, policy_under(logic, policy))) == []
    accepted: dict[SiteDay, int] = defaultdict(int)
    for hit in mesh.sent:
        accepted[SiteDay(hit.site, hit.event_time // DAY_MS)] += 1
    ledgers = mesh.ledgers()
    assert {day: entry.accepted for day, entry in ledgers.items() if entry.accepted} == accepted
    assert all(entry.accepted == entry.counted + entry.duplicate + entry.excluded for entry in ledgers.values())


@pytest.mark.timeout(120)
@examples(10)
@given(ref_hits(), policies(), st.integers(0, 60), st.sampled_from([(V0, V1), (V1, V0)]), SEEDS)
def test_visits_follow_the_version_of_the_day_on_which_they_begin(
    hits: list[RefHit], policy: RefPolicy, cut: int, versions: tuple[Logic, Logic], seed: int
) -> None:
    """A new version of the logic settles only days that were never settled before.

    A settled day is settled again under its first version.
    """
    first, second = versions
    mesh, dice = SmallMesh(NOW, policy, SITES, first), Random(seed)
    send(mesh, hits[:cut], dice)
    mesh.settle()
    settled_before = [(site, day) for site in SITES for day in mesh.stores.generations.current(site, 0, 10**6)]
    mesh.change_logic(second)
    send(mesh, hits[cut:], dice)
    mesh.settle()
    by_day = dict.fromkeys(settled_before, policy_under(first, policy))
    assert differences(mesh.rows(), expected_rows(mesh.sent, policy_under(second, policy), by_day)) == []
    for site in SITES:
        for day, entry in mesh.stores.generations.current(site, 0, 10**6).items():
            assert entry.logic_version == (first if (site, day) in by_day else second).number


@pytest.mark.timeout(120)
@FEW
@given(ref_hits(unique_ids=True, unique_orders=True), SEEDS)
def test_permutation_duplication_and_batching_change_no_report(hits: list[RefHit], seed: int) -> None:
    dice = Random(seed)
    other = [*hits, *dice.sample(hits, len(hits) // 3)]
    dice.shuffle(other)
    # The number of late hits and the number of copies depend on when hits arrive. All other numbers must be equal.
    changed = ("late_hits", "duplicate_hits")
    assert without(settled(other, seed=seed).rows(), *changed) == without(settled(hits).rows(), *changed)


@pytest.mark.timeout(120)
@FEW
@given(ref_hits(), policies())
def test_settled_numbers_keep_the_invariants(hits: list[RefHit], policy: RefPolicy) -> None:
    mesh = settled(hits, policy)
    rows = mesh.rows()
    for with_excluded in (False, True):  # P6
        visits, bounces, entries, exits, order_visits = (
            total(rows, name, with_excluded=with_excluded)
            for name in ("visits", "bounces", "entries", "exits", "order_visits")
        )
        assert 0 <= bounces <= visits
        assert entries == exits <= visits
        assert order_visits <= visits
    counted = len(mesh.sent) - len(duplicates(mesh.sent))
    assert total(rows, "hits") == counted  # the sum over all dimensions is the total (P4)
    for site in SITES:
        _check_sketches(mesh, site)


def _check_sketches(mesh: SmallMesh, site: str) -> None:
    """Check that the largest part <= the union <= the sum of the parts (P5)."""
    days = mesh.stores.generations.current(site, 0, 10**6)
    if not days:
        return
    found = mesh.stores.metrics.query(
        MetricQuery(
            source=RowSource.TRAFFIC,
            generations={SiteDay(site, day): entry.generation for day, entry in days.items()},
            start=min(days) * DAY_MS,
            end=(max(days) + 1) * DAY_MS,
            bucket_starts=(min(days) * DAY_MS,),
            dimensions=("browser",),
            sketches=("visitors",),
            include_excluded=True,
        )
    )
    parts, _ = union_by_group(found["visitors"], np.arange(found.height), found.height)
    (united,), _ = union_by_group(found["visitors"], np.zeros(found.height, np.int64), 1)
    assert parts.max(initial=0) <= united <= parts.sum()
    interactive = {hit.visitor for hit in mesh.sent if hit.site == site and hit.is_interactive}
    assert united <= len(interactive)


@pytest.mark.timeout(120)
@FEW
@given(ref_hits(unique_ids=True))
def test_refunds_leave_gross_revenue_alone(hits: list[RefHit]) -> None:
    no_refunds = [hit for hit in hits if hit.type != "REFUND"]
    money = ("gross_revenue", "tax", "shipping", "discounts", "orders", "item_revenue")
    with_them, without_them = settled(hits).rows(), settled(no_refunds).rows()
    assert [total(with_them, name) for name in money] == [total(without_them, name) for name in money]


@pytest.mark.timeout(120)
@FEW
@given(ref_hits(unique_ids=True, unique_orders=True))
def test_excluded_and_included_hits_add_up_to_all(hits: list[RefHit]) -> None:
    parts: dict[Key, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for excluded in (False, True):
        for key, row in settled([hit for hit in hits if hit.excluded == excluded]).rows().items():
            for name, value in row.items():
                parts[key][name] += value
    # Two numbers cannot be added over the parts: visitors and late hits. A visitor may occur in both parts. A hit that
    # is late in one mesh may be on time in another mesh.
    apart = ("visitors", "late_hits")
    both, added = settled(hits).rows(), {key: dict(row) for key, row in parts.items()}
    assert with_excluded(without(added, *apart)) == with_excluded(without(both, *apart))


def with_excluded(rows: Rows) -> Rows:
    return {key: row for key, row in rows.items() if key[1]}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("files", [1, pytest.param(2, marks=pytest.mark.long)])
def test_generated_files_settle_like_the_reference(files: int) -> None:
    first = generate_hits(seed=11, count=1)
    mesh = SmallMesh(NOW, sites={hit.site for hit in first})
    for file in (first, second_file(first, seed=12))[:files]:
        for at in range(0, len(file), 500):
            mesh.send(file[at : at + 500], at // 500 % PARTITIONS)
        mesh.settle()
        assert differences(mesh.rows(), expected_rows(mesh.sent)) == []
    before = mesh.rows()
    mesh.send(first[:1_000])
    mesh.settle()
    assert without(mesh.rows(), "duplicate_hits") == without(before, "duplicate_hits")
