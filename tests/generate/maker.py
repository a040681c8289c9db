"""Make a complete hit from a moment in a scenario or in a random visit.

A complete hit has a payload, an origin (referrer or campaign) and a device. This module decides the content of each hit
type. The caller decides the visitor and the time of each hit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from random import Random

from tests.generate.facts import (
    BOTS,
    DIRECT,
    EVENT_NAMES,
    ORIGINS,
    PAGES,
    PRODUCTS,
    SCREENS,
    SEARCH_TERMS,
    Client,
    Origin,
    Shop,
)
from tests.generate.scenarios import Moment
from tests.reference.hits import INTERACTIVE_TYPES, NO_CAMPAIGN, RefHit


@dataclass(frozen=True)
class HitMaker:
    """A maker of the hits of a file.

    A hit id consists of the prefix and a running number. All choices come from `random`.
    """

    prefix: str
    random: Random
    numbers: Iterator[int]

    def hit(self, shop: Shop, visitor: str, at: Moment, base_ms: int, client: Client, origin: Origin) -> RefHit:
        """Return the complete hit for a moment of a visitor.

        The hit has only those parts of the origin (referrer and campaign) that the hit's type can have.
        """
        hit_id = at.hit_id or f"{self.prefix}{next(self.numbers):07d}"
        client = BOTS[0] if at.bot else client
        came_from = _origin_of(at, origin)
        hit = RefHit(
            site=shop.site,
            visitor=visitor,
            hit_id=hit_id,
            event_time=base_ms + at.at_ms,
            type=at.type,
            interactive=at.interactive and at.type in INTERACTIVE_TYPES,
            offline=at.offline,
            excluded=client.is_bot,
            campaign=came_from.campaign,
            channel=came_from.channel,
            source=came_from.source,
            medium=came_from.medium,
            referrer_host=came_from.referrer_host,
            referrer=came_from.referrer,
            device_type=client.device_type,
            browser=client.browser,
            os=client.os,
            user_agent=client.user_agent,
        )
        return self._with_payload(hit, shop, f"{at.order_id or hit_id}-{visitor}")

    def _with_payload(self, hit: RefHit, shop: Shop, order_id: str) -> RefHit:
        choose = self.random.choice
        match hit.type:
            case "PAGE_VIEW":
                path = choose(PAGES)
                url = f"https://{shop.hostname}{path}"
                return replace(hit, page_path=path, hostname=shop.hostname, url=url)
            case "SCREEN_VIEW":
                return replace(hit, page_path=choose(SCREENS))
            case "EVENT":
                return replace(hit, event_name=choose(EVENT_NAMES))
            case "SITE_SEARCH":
                return replace(hit, search_term=choose(SEARCH_TERMS))
            case "CHECKOUT_STEP":
                return replace(hit, checkout_step=self.random.randint(1, 4))
            case "PRODUCT_VIEW" | "CART_UPDATE":
                item = choose(PRODUCTS)
                action = choose(("ADD", "ADD", "REMOVE")) if hit.type == "CART_UPDATE" else None
                named = replace(hit, product=item.sku, category=item.category, brand=item.brand)
                return replace(named, cart_action=action)
            case "REFUND":
                return self._with_refund(hit, shop, order_id)
            case "ORDER":
                return self._with_order(hit, shop, order_id)
        return hit

    def _with_refund(self, hit: RefHit, shop: Shop, order_id: str) -> RefHit:
        """Add a refund to the hit.

        The refund may lack an id or repeat an id. The refund may be for a whole order, or for an order that does not
        exist.
        """
        dice = self.random
        amount = dice.choice((0, dice.randint(1, 90_000_000), dice.randint(1, 90_000_000)))
        refund_id = dice.choice((None, f"refund-{hit.hit_id}", f"refund-of-{hit.visitor}"))
        order_id = dice.choice((order_id, f"order-of-{hit.visitor}"))
        return replace(hit, refund_micros=amount, currency=shop.currency, order_id=order_id, refund_id=refund_id)

    def _with_order(self, hit: RefHit, shop: Shop, order_id: str) -> RefHit:
        dice = self.random
        picked = dice.sample(PRODUCTS, dice.randint(1, 4))
        items = tuple(replace(item, quantity=dice.randint(1, 3)) for item in picked)
        worth = sum(item.unit_price_micros * item.quantity for item in items)
        tax, shipping, discount = worth // 5, dice.choice((0, 4_990_000)), dice.choice((0, 0, worth // 10))
        return replace(
            hit,
            order_id=order_id,
            currency=dice.choices((shop.currency, "JPY"), (19, 1))[0],
            items=items,
            total_micros=worth + tax + shipping - discount,
            tax_micros=tax,
            shipping_micros=shipping,
            discount_micros=discount,
        )


def _origin_of(at: Moment, origin: Origin) -> Origin:
    """Return the origin without the parts that the hit's type cannot have.

    Only page views can have a referrer. All types can have a campaign.
    """
    if at.campaign != NO_CAMPAIGN:
        origin = next(known for known in ORIGINS if known.campaign == at.campaign)
    if at.type == "PAGE_VIEW":
        return origin
    if origin.campaign == NO_CAMPAIGN:
        return DIRECT
    return replace(origin, referrer=None, referrer_host=None)
