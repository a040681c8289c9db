"""Sums of many amounts at their limits are exact in the stream, settlement and reports (rule M1).

The reference adds Python's integers, which have no limit.
"""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitmesh.model.limits import MAX_ABS_MICROS
from tests.generate.arrivals import Arrival
from tests.generate.scenarios import HOUR, MINUTE
from tests.generate.strategies import MIDNIGHT_MS
from tests.property.test_stream_properties import SEEDS, SITES, Stream
from tests.property.test_two_paths import check_paths, streamed_entries
from tests.reference.hits import RefHit, RefItem
from tests.reference.settled import settle
from tests.support.examples import examples

MOST = MAX_ABS_MICROS
AMOUNTS = st.sampled_from((MOST, MOST, MOST, MOST - 1, -MOST, 1, 0)) | st.integers(-MOST, MOST)
HITS = st.lists(st.tuples(AMOUNTS, st.sampled_from(("ORDER", "ORDER", "ORDER", "REFUND"))), min_size=12, max_size=40)
LOOK_BACK_MS = 40 * MINUTE


def a_hit(number: int, amount: int, type: str, dice: Random) -> RefHit:
    """Return an order or a refund with the given amount.

    The hits of a test belong to two visitors. The hits of each visitor lie within an hour.
    """
    at_ms = MIDNIGHT_MS + dice.choice((0, 5, 20, 40)) * MINUTE
    hit = RefHit(SITES[0], f"visitor-{number % 2}", f"hit-{number}", at_ms, type=type, order_id=f"order-{number}")
    hit = RefHit(**{**hit.__dict__, "currency": "USD", "channel": "direct", "hostname": "shop.example"})
    if type == "REFUND":
        return RefHit(**{**hit.__dict__, "interactive": False, "refund_micros": max(1, abs(amount))})
    items = (RefItem("lamp", None, None, amount, 1), RefItem("lamp", None, None, amount // 10**6, 10**6))
    sums = {"total_micros": amount, "tax_micros": -amount, "shipping_micros": amount, "discount_micros": abs(amount)}
    return RefHit(**{**hit.__dict__, **sums, "items": items})


@pytest.mark.timeout(300)
@examples(3)
@given(HITS, SEEDS)
def test_sums_beyond_an_int64_are_those_of_the_reference(amounts: list[tuple[int, str]], seed: int) -> None:
    dice = Random(seed)
    hits = [a_hit(number, amount, type, dice) for number, (amount, type) in enumerate(amounts)]
    sent = [Arrival(hit.event_time + dice.choice((0, LOOK_BACK_MS)), hit) for hit in hits]
    with Stream() as mesh:
        mesh.feed(sorted(sent, key=lambda arrival: arrival.at_ms), dice)
        mesh.check()
        check_paths(mesh, dice, streamed_entries(mesh))
        mesh.idle(HOUR)
        mesh.settle()
        check_paths(mesh, dice, {site: settle(mesh.logged[site]).entries for site in SITES})
        drifts = mesh.stores.generations.drifts(SITES[0], 0, 10**6)
        assert [(day_drift.rows_differ, day_drift.measures) for day_drift in drifts.values()] == [(False, {})] * len(
            drifts
        )
