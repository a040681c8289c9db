"""Generate traffic for kill tests from a seed: recent hits of three sites, with all difficult cases of counting.

This module decides when hits happen and which hits are sent twice. `HitMaker` decides the content of the hits. About
half of the hits are on time. All other hits are late, or arrive after their day has closed. The traffic contains bots,
copies, repeated orders and hits out of order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from random import Random

from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.client.batches import batches
from tests.generate.arrivals import Arrival
from tests.generate.facts import BOTS, DIRECT, ORIGINS, PEOPLE, Shop
from tests.generate.hits import DAY
from tests.generate.maker import HitMaker
from tests.generate.scenarios import HOUR, MINUTE, SECOND, Moment
from tests.reference.hits import RefHit
from tests.reference.visits import V1
from tests.support.messages import message_of, page_view

SHOPS = tuple(Shop(f"merchants/demo/sites/{name}", "USD", f"{name}.example") for name in ("anvil", "bellows", "crate"))
SITES = tuple(shop.site for shop in SHOPS)
SLACK_MS = 10 * MINUTE
"""Maximum time from the first hit to the last comparison of a test.

The generator leaves out visits that would end between the first hit and the last comparison.
"""
BATCH_HITS = 40
HISTORY_MS = 5 * DAY
_TYPES = {"PAGE_VIEW": 9, "PRODUCT_VIEW": 3, "EVENT": 2, "ENGAGEMENT": 2, "CART_UPDATE": 1, "ORDER": 3, "REFUND": 1}


def hits_of_now(seed: int, now: int, visitors: int) -> list[RefHit]:
    """Return hits in random order, about ten per visitor.

    The hits are from the three hours before `now` and from an old day.
    """
    maker = HitMaker("k", Random(seed), count())
    dice = maker.random
    hits: list[RefHit] = []
    for number in range(visitors):
        shop, begin = SHOPS[number % len(SHOPS)], now - dice.randint(0, 3 * HOUR)
        hits += _walk(maker, shop, f"v{number}", begin)
        if dice.random() < 0.3:  # a returning visitor
            hits += _walk(maker, shop, f"v{number}", begin + dice.randint(20 * MINUTE, HOUR))
        if dice.random() < 0.2:
            hits += _walk(maker, shop, f"v{number}", _old_noon(now) + dice.randint(0, 3 * HOUR), orders_of="old ")
    hits = [hit for hit in hits if hit.event_time <= now and not _is_about_to_end(hit, now)]
    hits += _copies(dice, hits)
    dice.shuffle(hits)
    return hits


def messages_of(
    hits: Sequence[RefHit], now: int, prefix: str, batch_hits: int = BATCH_HITS
) -> dict[str, list[hit_pb2.HitBatch]]:
    """Return the batches of each site in order.

    The batches also contain hits whose time lies in the future, which the collector must refuse.
    """
    of_site: dict[str, list[hit_pb2.Hit]] = defaultdict(list)
    for number, hit in enumerate(hits):
        of_site[hit.site].append(message_of(hit))
        if number % batch_hits == 0:
            of_site[hit.site].append(page_view(f"{prefix}-ahead-{number}", now + 2 * DAY))
    return {
        site: list(batches(messages, f"{prefix}-{site[-5:]}", max_hits=batch_hits))
        for site, messages in of_site.items()
    }


def arrivals_of(hits: Sequence[RefHit], now: int, seed: int) -> list[Arrival]:
    """Return the arrivals of the hits.

    A tenth of the hits is more than an hour late. Hits of closed days arrive at random times.
    """
    dice = Random(seed)
    sent = [Arrival(_arrival_ms(hit, now, dice), hit) for hit in hits]
    return sorted(sent, key=lambda arrival: arrival.at_ms)


def _arrival_ms(hit: RefHit, now: int, dice: Random) -> int:
    if now - hit.event_time > DAY:
        return now - dice.randint(0, 2 * HOUR)
    usual, delayed, late = (0, 10 * MINUTE), (0, 50 * MINUTE), (61 * MINUTE, 150 * MINUTE)
    (bounds,) = dice.choices((usual, delayed, late), (7, 2, 1))
    return hit.event_time + dice.randint(*bounds)


def _old_noon(now: int) -> int:
    """Return noon of a closed day. Visits that begin at noon do not reach midnight."""
    return now - now % DAY - HISTORY_MS + 12 * HOUR


def _is_about_to_end(hit: RefHit, now: int) -> bool:
    """Return whether a visit whose last hit is `hit` would end while the test runs."""
    return V1.gap_ms - SLACK_MS < now - hit.event_time <= V1.gap_ms + MINUTE


def _walk(maker: HitMaker, shop: Shop, visitor: str, begin: int, orders_of: str = "") -> Iterator[RefHit]:
    dice = maker.random
    client = BOTS[0] if visitor.endswith("7") else PEOPLE[len(visitor) % len(PEOPLE)]
    at_ms = 0
    for step, type in enumerate(dice.choices(list(_TYPES), list(_TYPES.values()), k=dice.randint(1, 15))):
        order = f"{orders_of}{dice.randint(0, 1)}" if type == "ORDER" else None
        moment = Moment(at_ms, type, order_id=order, offline=type == "ORDER" and dice.random() < 0.1)
        yield maker.hit(shop, visitor, moment, begin, client, dice.choice(ORIGINS) if step == 0 else DIRECT)
        at_ms += dice.choice((0, SECOND, MINUTE, 5 * MINUTE, V1.gap_ms - 1, V1.gap_ms + 1))


def _copies(dice: Random, hits: Sequence[RefHit]) -> list[RefHit]:
    """Return exact copies of some hits, and inexact copies of some page views.

    An inexact copy has the same id and another page.
    """
    exact = dice.sample(hits, len(hits) // 12)
    views = [hit for hit in hits if hit.type == "PAGE_VIEW"]
    changed = [
        replace(hit, page_path="/copied", url=f"https://{hit.hostname}/copied")
        for hit in dice.sample(views, len(views) // 30)
    ]
    return [*exact, *changed]
