"""All visitors send a single visitor id (rule S9), and the limit on kept hits of a visitor is three.

The work is bounded, and the result does not depend on how records are divided into steps.

For example, if a shop's tag sends the visitor id `undefined` for every visitor, all hits of the shop belong to one
timeline. Any hit may arrive out of order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from random import Random

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.sites import SiteDay
from hitmesh.model.waiting_visits import days_with_provisional_visits
from tests.generate.arrivals import Arrival, in_slices
from tests.generate.scenarios import HOUR, MINUTE
from tests.generate.strategies import policies
from tests.property.test_stream_properties import (
    ANY_MS,
    BEAT_MS,
    DAY,
    FEW,
    FEWER,
    ON_TIME_MS,
    SEEDS,
    SITES,
    SLICE_MS,
    Stream,
    in_order,
    stream_hits,
    with_delays,
)
from tests.reference.hits import RefHit
from tests.reference.streamed import stream
from tests.reference.visits import RefPolicy
from tests.support.examples import examples
from tests.support.live_mesh import SMALLEST
from tests.support.live_rows import ALL_DAYS
from tests.support.small_mesh import expected_rows

_THREE = 3


def everybody(policy: RefPolicy) -> Stream:
    """Return a mesh that keeps three hits per visitor. Further hits that arrive out of order wait for settlement."""
    return Stream(policy, limits=replace(SMALLEST, kept_of_visitor=_THREE))


@st.composite
def hits_of_one(draw: st.DrawFn) -> list[RefHit]:
    """Draw hits that have one or two visitor ids.

    The limit on hits of one visitor must not affect the other visitor.
    """
    hits = draw(stream_hits(unique_ids=True))
    others = draw(st.sampled_from([(), ("other",)]))
    return [replace(hit, visitor=("undefined", *others)[number % (1 + len(others))]) for number, hit in enumerate(hits)]


def arrivals(hits: Sequence[RefHit], dice: Random) -> list[Arrival]:
    """Return arrivals with random delays, or arrivals on time whose order is reversed within each half hour."""
    if dice.random() < 0.5:
        return with_delays(hits, dice, ANY_MS)
    backwards = []
    for arrival in in_order(hits):
        window = arrival.at_ms // (30 * MINUTE) * 30 * MINUTE
        backwards.append(Arrival(window + 30 * MINUTE + (window + 30 * MINUTE - arrival.at_ms), arrival.hit))
    return sorted(backwards, key=lambda arrival: arrival.at_ms)


@pytest.mark.timeout(300)
@FEW
@given(hits_of_one(), policies(), SEEDS)
def test_net_rows_are_those_of_the_reference_at_any_time(hits: list[RefHit], policy: RefPolicy, seed: int) -> None:
    dice = Random(seed)
    sent = arrivals(hits, dice)
    cut = dice.randint(0, len(sent))
    with everybody(policy) as mesh:
        mesh.feed(sent[:cut], dice)
        mesh.check()
        mesh.feed(sent[cut:], dice)
        mesh.check()
        waiting = sum(len(stream(mesh.logged[site], kept_of_visitor=_THREE).waiting) for site in SITES)
        event("some wait" if waiting else "none waits")
        assert mesh.runner.counts.waiting == waiting


@pytest.mark.timeout(300)
@examples(2)
@given(hits_of_one(), policies(), SEEDS)
def test_a_crash_at_any_write_changes_no_row(hits: list[RefHit], policy: RefPolicy, seed: int) -> None:
    dice = Random(seed)
    with everybody(policy) as mesh:
        mesh.feed_through_crashes(arrivals(hits, dice), dice)
        mesh.check()


@pytest.mark.timeout(300)
@FEWER
@given(hits_of_one(), policies(), SEEDS)
def test_replay_in_other_steps_from_a_snapshot_anywhere_changes_no_row(
    hits: list[RefHit], policy: RefPolicy, seed: int
) -> None:
    dice = Random(seed)
    with everybody(policy) as mesh:
        for part in in_slices(arrivals(hits, dice), dice.randint(1, 20), SLICE_MS):
            mesh.arrive(part)
            if dice.random() < 0.6:
                mesh.step()
            if dice.random() < 0.3:
                mesh.runner.snapshot()
            if dice.random() < 0.3:
                mesh.crash()
        mesh.check()


@pytest.mark.timeout(300)
@FEWER
@given(hits_of_one(), policies(), SEEDS)
def test_settlement_has_all_visits_and_confirms_no_day_with_hits_that_wait(
    hits: list[RefHit], policy: RefPolicy, seed: int
) -> None:
    dice = Random(seed)
    with everybody(policy) as mesh:
        mesh.feed(with_delays(hits, dice, ON_TIME_MS) if seed % 2 else arrivals(hits, dice), dice)
        mesh.idle(HOUR, BEAT_MS)
        streamed = {site: mesh.seen(site) for site in SITES}
        mesh.settle()
        for site in SITES:
            logged = mesh.logged[site]
            assert mesh.seen(site).differences_from(expected_rows(logged, policy)) == []
            waiting = stream(logged, policy=policy, kept_of_visitor=_THREE).waiting
            drifts = mesh.stores.generations.drifts(site, 0, 10**6)
            for day in {hit.event_time // DAY for hit in waiting}:
                assert not drifts[SiteDay(site, day)].confirmed
            changed = {key[3] // DAY for key in streamed[site].changed(mesh.seen(site)) if key[0] == RowSource.VISITS}
            if seed % 2:
                provisional = days_with_provisional_visits(partial(mesh.stores.ledger.waiting, site), *ALL_DAYS)
                assert changed <= provisional, "no hit was late, and a report said EXACT"
                assert not any(drifts[SiteDay(site, day)].confirmed for day in changed)
