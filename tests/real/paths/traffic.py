"""Traffic of a weekend on two sites, in order of arrival.

The traffic has some thousand hits and extreme values of every kind. Visitors and bots walk through a shop. The names of
the shop's pages, products and campaigns contain unusual characters. Some different names have the same hash64. Hits
arrive in random order. Some hits arrive late, some after their day has closed, and some twice. Orders are in the sites'
currency and in other currencies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from random import Random
from typing import Final

from hitmesh.model.limits import CLOSED_AFTER_MS
from hitmesh.model.zones import DAY_MS
from tests.generate.arrivals import Arrival, Plan, arrivals
from tests.generate.facts import BOTS, DIRECT, ORIGINS, PEOPLE, SHOPS, Shop
from tests.generate.maker import HitMaker
from tests.generate.scenarios import GAP, HOUR, MINUTE, SCENARIOS, SECOND, Moment
from tests.generate.strategies import MIDNIGHT_MS
from tests.reference.hits import NO_CAMPAIGN, RefHit
from tests.support.twins import with_twins

SEED: Final = 20_250_405
START: Final = MIDNIGHT_MS
"""The UTC midnight before Australia/Lord_Howe sets its clocks back at 2025-04-05T15:00:00Z."""
FIRST_DAY: Final = START // DAY_MS
END: Final = START + 2 * DAY_MS + 3 * HOUR
"""The end of the traffic, an hour after the first day has closed.

At the end of the traffic, the second and the third day are not settled yet.
"""
AWAKE: Final = tuple(
    (START + round(begins * HOUR), START + round(ends * HOUR))
    for begins, ends in ((14, 16), (23, 25.5), (45, 46), (49.5, 51))
)
"""The ranges [start, end) in which hits happen and arrive.

The ranges are short to limit the test's duration, because the stream needs time for each quarter-hour with hits.
"""
CLOSED: Final = START + DAY_MS + CLOSED_AFTER_MS
HISTORY_SHARE: Final = 0.02
QUERIED_SHOPS: Final = SHOPS[:2]
SITES: Final = tuple(shop.site for shop in QUERIED_SHOPS)
VISITORS: Final = 150
TWIN_SHARE: Final = 0.1
PLAN: Final = Plan("on-servers", 10 * MINUTE, delayed=0.06, far_delayed=0.04, resent=0.03, far_resent=0.02)
_TYPES: Final = {
    "PAGE_VIEW": 40,
    "PRODUCT_VIEW": 12,
    "SCREEN_VIEW": 5,
    "EVENT": 6,
    "ENGAGEMENT": 6,
    "CART_UPDATE": 8,
    "CHECKOUT_STEP": 5,
    "ORDER": 6,
    "REFUND": 3,
}


def sent(seed: int = SEED) -> list[Arrival]:
    """Return the arrivals before END, in the order of time."""
    maker = HitMaker("p", Random(seed), count())
    hits = [hit for shop in QUERIED_SHOPS for hit in (*_walks(maker, shop), *_at_the_edges(maker, shop))]
    arrived = arrivals([hit for hit in hits if _is_awake(hit)], PLAN, seed)
    dice = Random(seed)
    kept = [arrival._replace(at_ms=_arrives(arrival, dice)) for arrival in arrived if arrival.at_ms < END]
    return sorted(kept, key=lambda arrival: arrival.at_ms)


def _is_awake(hit: RefHit) -> bool:
    return any(begins <= hit.event_time < ends for begins, ends in AWAKE)


def _arrives(arrival: Arrival, dice: Random) -> int:
    """Return the time at which a hit arrives.

    Most hits arrive in the time ranges of AWAKE. A few hits of the first day arrive after the first day has closed.
    """
    if arrival.hit.event_time < START + DAY_MS and dice.random() < HISTORY_SHARE:
        return dice.randrange(CLOSED, END)
    return next(max(arrival.at_ms, begins) for begins, ends in AWAKE if arrival.at_ms < ends)


def _at_the_edges(maker: HitMaker, shop: Shop) -> Iterator[RefHit]:
    """Yield the hits of all scenarios of the visit rules, including the hits of the second file."""
    for scenario in SCENARIOS:
        for at in (*scenario.first, *scenario.second):
            yield maker.hit(shop, f"{shop.hostname}-{scenario.name}", at, AWAKE[0][0], PEOPLE[0], DIRECT)


def _walks(maker: HitMaker, shop: Shop) -> Iterator[RefHit]:
    for number in range(VISITORS):
        dice = maker.random
        client = dice.choice(BOTS) if dice.random() < 0.1 else dice.choice(PEOPLE)
        for _ in range(dice.randint(1, 3)):
            begins = dice.randrange(*dice.choice(AWAKE))
            for at in _walk(dice):
                hit = maker.hit(shop, f"{shop.hostname}-{number}", at, begins, client, dice.choice((DIRECT, *ORIGINS)))
                hit = with_twins(hit, dice) if dice.random() < TWIN_SHARE else hit
                # Half of the amounts are in USD, the currency of all questions.
                yield replace(hit, currency="USD") if hit.currency and dice.random() < 0.5 else hit


def _walk(dice: Random) -> Iterator[Moment]:
    at_ms = 0
    for type_ in dice.choices(list(_TYPES), list(_TYPES.values()), k=dice.randint(1, 12)):
        campaign = dice.choice(ORIGINS).campaign if dice.random() < 0.05 else NO_CAMPAIGN
        yield Moment(at_ms, type_, campaign, interactive=dice.random() < 0.9, offline=dice.random() < 0.02)
        at_ms += dice.choice((0, SECOND, MINUTE, 7 * MINUTE, GAP, GAP + 1))
