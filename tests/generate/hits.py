"""Two generated files.

The first file covers eight days. The second file, which is imported later, has hits before and within these eight days.
The same seed always gives the same hits. Both files are shuffled. The positions of the hits lie in a single log
partition, in sending order. If an order is repeated, both hits belong to the same visitor and partition. A race between
partitions therefore never decides which hit holds the order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import count as counter
from random import Random

from tests.generate.facts import (
    BOTS,
    DIRECT,
    ORIGINS,
    PEOPLE,
    SHOPS,
    Shop,
)
from tests.generate.maker import HitMaker
from tests.generate.scenarios import GAP, HEAVY, HOUR, MINUTE, SCENARIOS, SECOND, Moment
from tests.reference.hits import NO_CAMPAIGN, RefHit, in_log_order
from tests.reference.visits import COPY_WINDOW_MS

DAY = 24 * HOUR
FIRST_DAY = date(2025, 3, 30)
"""The day on which Europe/Berlin changes its clocks. Australia/Lord_Howe changes its clocks a week later."""
DAYS = 8
SCENARIO_DAYS = (0, 3, 5)

_TYPES = {
    "PAGE_VIEW": 50,
    "PRODUCT_VIEW": 14,
    "SCREEN_VIEW": 5,
    "EVENT": 6,
    "ENGAGEMENT": 7,
    "CART_UPDATE": 6,
    "CHECKOUT_STEP": 4,
    "ORDER": 3,
    "SITE_SEARCH": 2,
    "REFUND": 1,
    "PERFORMANCE": 1,
    "EXCEPTION": 1,
    "IDENTIFY": 1,
}
_QUIET_TYPES = ("ENGAGEMENT", "PERFORMANCE", "EXCEPTION", "IDENTIFY", "REFUND")
_GAPS_MS = (GAP - 1, GAP, GAP + 1)
_COPY_OFFSETS_MS = (0, SECOND, -MINUTE, COPY_WINDOW_MS)


def generate_hits(seed: int = 1, count: int = 50_000) -> list[RefHit]:
    """Return at least `count` hits on three sites.

    The times of the hits lie in the eight days from FIRST_DAY, or shortly before or after these days.

    Every site has all scenarios on days one, four and six. The first site also has a visitor with more than 5,000 hits.
    The hits that are not in scenarios are copies or belong to random visitors. The scenarios alone give about 12,000
    hits, so a lower `count` has no effect.
    """
    maker = HitMaker("a", Random(seed), counter())
    hits = [hit for shop in SHOPS for hit in _scenario_hits(maker, shop, later=False)]
    hits += _heavy_hits(maker)
    for number in counter():
        if len(hits) >= count:
            break
        # The same visitor ids are used on every site, where they denote different visitors.
        shop = SHOPS[number % len(SHOPS)]
        hits += _random_visitor(maker, shop, f"v{number // len(SHOPS):06d}", _midnight(0), DAYS * DAY)
    hits += _copies(maker.random, hits)
    maker.random.shuffle(hits)
    return in_log_order(hits)


def second_file(first: Sequence[RefHit], seed: int = 2) -> list[RefHit]:
    """Return further hits, on the days of `first` and on the two preceding days.

    `first` is a result of `generate_hits`. The hits join, split and extend visits. A hit may extend a visit at the
    visit's start or end. Some hits change visits that continue over midnight (S-k, S-l), and some copy hits of `first`.
    The positions of the hits follow the positions of `first`.
    """
    maker = HitMaker("b", Random(seed), counter())
    hits = [hit for shop in SHOPS for hit in _scenario_hits(maker, shop, later=True)]
    for number in range(150):
        shop = SHOPS[number % len(SHOPS)]
        hits += _random_visitor(maker, shop, f"w{number:06d}", _midnight(-2), 2 * DAY)
    for known in maker.random.sample(first, min(900, len(first))):
        hits += _near(maker, known)
    hits += maker.random.sample(first, min(500, len(first)))
    maker.random.shuffle(hits)
    return in_log_order(hits, first_offset=len(first))


def _midnight(day: int) -> int:
    return round(datetime(FIRST_DAY.year, FIRST_DAY.month, FIRST_DAY.day, tzinfo=UTC).timestamp()) * SECOND + day * DAY


def _scenario_hits(maker: HitMaker, shop: Shop, *, later: bool) -> Iterator[RefHit]:
    for day in SCENARIO_DAYS:
        for scenario in SCENARIOS:
            for at in scenario.second if later else scenario.first:
                yield maker.hit(shop, f"{scenario.name}@{day}", at, _midnight(day), PEOPLE[0], DIRECT)


def _heavy_hits(maker: HitMaker) -> list[RefHit]:
    return [maker.hit(SHOPS[0], HEAVY.name, at, _midnight(2), PEOPLE[1], DIRECT) for at in HEAVY.first]


def _random_visitor(maker: HitMaker, shop: Shop, visitor: str, start_ms: int, span_ms: int) -> list[RefHit]:
    dice = maker.random
    client = dice.choice(BOTS) if dice.random() < 0.08 else dice.choice(PEOPLE)
    hits = []
    for _ in range(dice.randint(1, 4)):
        base_ms = start_ms + dice.randrange(span_ms)
        first = True
        for at in _random_visit(dice):
            hits.append(maker.hit(shop, visitor, at, base_ms, client, dice.choice(ORIGINS) if first else DIRECT))
            first = first and not hits[-1].is_interactive
    return hits


def _random_visit(dice: Random) -> Iterator[Moment]:
    """Yield a random visit.

    Some visits have non-interactive hits at both ends, a gap at the limit, or a campaign in the middle.
    """
    at_ms = 0
    if dice.random() < 0.1:
        yield Moment(at_ms, dice.choice(_QUIET_TYPES))
        at_ms += dice.randint(0, MINUTE)
    length = 1 + min(60, int(dice.expovariate(0.18)))
    for type in dice.choices(list(_TYPES), list(_TYPES.values()), k=length):
        campaign = dice.choice(ORIGINS).campaign if dice.random() < 0.03 else NO_CAMPAIGN
        interactive = type != "EVENT" or dice.random() < 0.7
        offline = type == "ORDER" and dice.random() < 0.1
        yield Moment(at_ms, type, campaign, interactive, offline)
        at_ms += dice.choice(_GAPS_MS) if dice.random() < 0.08 else dice.choice((0, SECOND)) + _pause_ms(dice)
    if dice.random() < 0.1:
        yield Moment(at_ms, dice.choice(_QUIET_TYPES))


def _pause_ms(dice: Random) -> int:
    return 0 if dice.random() < 0.05 else int(dice.expovariate(1 / (90 * SECOND)))


def _copies(dice: Random, hits: Sequence[RefHit]) -> list[RefHit]:
    """Return exact copies, copies with other content, and hits that reuse an id.

    Copies with other content come within two hours. Ids are reused after two hours.
    """
    exact = dice.sample(hits, len(hits) // 40)
    changed = [
        replace(_with_other_content(hit), event_time=hit.event_time + dice.choice(_COPY_OFFSETS_MS))
        for hit in dice.sample(hits, len(hits) // 100)
    ]
    reused = [
        replace(hit, event_time=hit.event_time + COPY_WINDOW_MS + dice.choice((1, HOUR)))
        for hit in dice.sample(hits, len(hits) // 300)
    ]
    return [*exact, *changed, *reused]


def _with_other_content(hit: RefHit) -> RefHit:
    if hit.type != "PAGE_VIEW":
        return hit
    return replace(hit, page_path="/copied", url=f"https://{hit.hostname}/copied")


def _near(maker: HitMaker, known: RefHit) -> list[RefHit]:
    """Return one to three hits of the visitor of `known`, at most three hours before or after `known`."""
    dice = maker.random
    shop = next(shop for shop in SHOPS if shop.site == known.site)
    client = next(client for client in (*PEOPLE, *BOTS) if client.user_agent == known.user_agent)
    types = dice.choices(list(_TYPES), list(_TYPES.values()), k=dice.randint(1, 3))
    offsets = [dice.choice((-GAP, GAP, GAP + 1, dice.randint(-3 * HOUR, 3 * HOUR))) for _ in types]
    return [
        maker.hit(shop, known.visitor, Moment(at_ms, type), known.event_time, client, dice.choice(ORIGINS))
        for type, at_ms in zip(types, offsets, strict=True)
    ]
