"""Test arrival plans. The seed determines delays and copies."""

from __future__ import annotations

import pytest

from tests.generate.arrivals import (
    DELAYED,
    DELAYED_MS,
    EVERYTHING,
    FAR_DELAYED,
    FAR_DELAYED_MS,
    FAR_RESENT,
    FAR_RESENT_MS,
    IN_ORDER,
    PLANS,
    RESENT,
    RESENT_MS,
    SHUFFLED,
    Arrival,
    Plan,
    arrivals,
    in_slices,
    on_sites,
)
from tests.generate.scenarios import HOUR, MINUTE, SECOND
from tests.reference.hits import RefHit

NOON = 1_743_854_400_000
HITS = [RefHit("merchants/demo/sites/a", f"v{n % 50}", f"h{n}", NOON + n * 10 * SECOND) for n in range(10_000)]


def delays(plan: Plan, attempt: int = 1) -> list[int]:
    return [sent.at_ms - sent.hit.event_time for sent in arrivals(HITS, plan) if sent.attempt == attempt]


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)
def test_every_hit_arrives_once_or_twice_by_time_and_never_before_it_happened(plan: Plan) -> None:
    sent = arrivals(HITS, plan)
    assert sent == sorted(sent, key=lambda arrival: arrival.at_ms)
    assert sorted(arrival.hit.hit_id for arrival in sent if arrival.attempt == 1) == sorted(h.hit_id for h in HITS)
    assert min(delays(plan)) >= 0
    assert arrivals(HITS, plan, seed=1) == sent
    assert plan == IN_ORDER or arrivals(HITS, plan, seed=2) != sent


def test_in_order_nothing_is_delayed() -> None:
    assert set(delays(IN_ORDER)) == {0}
    assert delays(IN_ORDER, attempt=2) == []


def test_shuffled_hits_come_within_ten_minutes() -> None:
    found = delays(SHUFFLED)
    assert max(found) <= 10 * MINUTE
    assert len(set(found)) > 9_000


def test_delayed_hits_are_five_percent_and_on_time_still() -> None:
    found = [delay for delay in delays(DELAYED) if delay]
    assert 400 < len(found) < 600
    assert 45 * MINUTE < max(found) <= DELAYED_MS < HOUR


def test_far_delayed_hits_are_two_percent_and_come_within_two_days() -> None:
    found = [delay for delay in delays(FAR_DELAYED) if delay]
    assert 150 < len(found) < 250
    assert 40 * HOUR < max(found) <= FAR_DELAYED_MS


def test_resent_hits_come_again_while_their_ids_are_known_and_far_resent_ones_after_that() -> None:
    soon, far = delays(RESENT, attempt=2), delays(FAR_RESENT, attempt=2)
    assert 150 < len(soon) < 250
    assert 60 < len(far) < 140
    assert RESENT_MS[0] <= min(soon) < max(soon) <= RESENT_MS[1]
    assert FAR_RESENT_MS[0] <= min(far) < max(far) <= FAR_RESENT_MS[1]


def test_only_far_plans_may_drift() -> None:
    assert [plan for plan in PLANS if not plan.settles_as_streamed] == [FAR_DELAYED, FAR_RESENT, EVERYTHING]


def test_a_file_on_several_sites_is_the_same_file_for_each() -> None:
    copies = on_sites(HITS[:3], ["one", "two"])
    assert [(hit.site, hit.hit_id) for hit in copies] == [(site, f"h{n}") for site in ("one", "two") for n in range(3)]


def test_slices_hold_all_arrivals_in_order_and_neither_too_many_nor_too_long() -> None:
    sent = [Arrival(at_ms, HITS[0]) for at_ms in (0, 5, 9, 10, 30, 31, 32, 33)]
    slices = [[arrival.at_ms for arrival in part] for part in in_slices(sent, max_hits=3, max_ms=10)]
    assert slices == [[0, 5, 9], [10], [30, 31, 32], [33]]
