"""Test the stream on extreme hits: one visitor or many, any order, every type, and amounts at their limits.

The tests run in memory and on files. The stream's limits are so small that few hits cause the work that many hits cause
in production.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hitmesh.model.limits import MAX_ABS_MICROS
from tests.generate.facts import ORIGINS, PEOPLE, SHOPS
from tests.generate.maker import HitMaker
from tests.generate.scenarios import HOUR, MINUTE, Moment
from tests.generate.strategies import MIDNIGHT_MS
from tests.property.test_stream_properties import ANY_MS, SEEDS, Stream, with_delays
from tests.reference.hits import INTERACTIVE_TYPES, RefHit
from tests.support.examples import examples
from tests.support.live_mesh import SMALLEST
from tests.support.twins import IDS, TEXTS, with_twins

TYPES = (*sorted(INTERACTIVE_TYPES), "ENGAGEMENT", "PERFORMANCE", "REFUND", "EXCEPTION", "IDENTIFY")
URLS = st.sampled_from(("memory:", "memory:", "embedded:HOME/data"))
MOST = MAX_ABS_MICROS
AMOUNTS = (MOST, -MOST, MOST - 1, 0, 1)
HITS = 60
TWIN_SHARE = 0.2


def wild_hits(dice: Random, visitors: int) -> list[RefHit]:
    """Return hits of every type within a day and a half, by `visitors` visitors. Pages and products rarely repeat."""
    maker = HitMaker("wild", dice, iter(range(HITS)))
    hits = []
    for number in range(HITS):
        at = Moment(
            dice.randrange(36 * HOUR) if number % 3 else dice.randrange(40 * MINUTE), TYPES[number % len(TYPES)]
        )
        visitor = f"v{dice.randrange(visitors)}"
        made = maker.hit(SHOPS[number % 2], visitor, at, MIDNIGHT_MS, dice.choice(PEOPLE), dice.choice(ORIGINS))
        widened = _widened(made, number, dice)
        hits.append(_with_twins(widened, dice) if dice.random() <= TWIN_SHARE else widened)
    return hits


def _with_twins(hit: RefHit, dice: Random) -> RefHit:
    # A copy must equal its original, because the order of arrival decides which of the two counts.
    hit_id = dice.choice(IDS) if hit.type == "IDENTIFY" else hit.hit_id
    return replace(with_twins(hit, dice, (*TEXTS, "refund_id", "order_id")), hit_id=hit_id)


def _widened(hit: RefHit, number: int, dice: Random) -> RefHit:
    if hit.type == "ORDER":
        amounts = {name: dice.choice(AMOUNTS) for name in ("total_micros", "tax_micros", "discount_micros")}
        items = tuple(replace(item, unit_price_micros=dice.choice(AMOUNTS), quantity=1) for item in hit.items)
        return replace(hit, **amounts, items=items)  # type: ignore[arg-type]  # fields of RefHit
    if hit.type == "REFUND":
        return replace(hit, refund_micros=dice.choice((MOST, 1, 0)))
    if hit.is_view:
        return replace(hit, page_path=f"/{number}/(other)\t|,'\"")
    return replace(hit, product=hit.product and f"{hit.product}-{number}")


@pytest.mark.timeout(300)
@examples(2)
@given(SEEDS, st.sampled_from((1, 2, 10**6)), URLS)
def test_wild_hits_are_counted_as_the_reference_counts_them(seed: int, visitors: int, url: str) -> None:
    dice = Random(seed)
    sent = with_delays(wild_hits(dice, visitors), dice, ANY_MS)
    with Stream(url=url, limits=SMALLEST) as mesh:
        mesh.feed(sent, dice)
        mesh.check()
        mesh.idle(31 * MINUTE)
        mesh.check()
