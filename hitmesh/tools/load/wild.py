"""Generates hits for the shape `wild`: every type of hit with every field, hostile texts, and extreme amounts.

This module generates each hit's content, and states the hit's effect on totals. Nearly every text is unique, so that
the mesh's limited tables of distinct values overflow. The module has no I/O and no clock; the random source is an
argument.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final, NamedTuple

from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.limits import MAX_ABS_MICROS
from hitmesh.tools.load import scenery
from hitmesh.tools.load.expected import Counts
from hitmesh.tools.load.visits import NO_CAMPAIGN, QUIET

# Two different texts with the same hash64 (a collision of XXH3-64).
TWINS: Final = ("/checkout", "/t-ica9GNU_gUnkca9GNU_gnu18FezZha9GNU_gnu18FkYola9GNU_gnu18F")
# Texts that reports, files, terminals and spreadsheets may misinterpret.
PRINTABLE: Final = (
    "(other)", "(not set)", "(direct)", "a,b;c|d", "\"quoted\" 'n back\\", "🛒👩\u200d👩\u200d👧", "\u202eשלם\u200f",
    "e\u0301 é", "=1+1", "%00%2E%2e/..", "</script>", "\ufeff\u200b", "' OR 1=1 --", "\uff21\uff11", "𐍈",
)  # fmt: skip
TEXTS: Final = (*PRINTABLE, "tab\tline\nbreak\r\n", "\x1b[31m\x07\x01\x7f", "\u2028\u2029\x85")
# Campaigns as tuples of parts. If a mesh joined the parts with a separator, some of these campaigns would become equal.
CAMPAIGNS: Final = (
    ("a,b", "c", "x", ""),
    ("a", "b,c", "x", ""),
    ("a|b", "c", "x\x1fy", ""),
    ("a", "b|c", "x", "\x1fy"),
    ("(direct)", "(not set)", "(other)", ""),
    ("рассылка", "e-mail", "🛒 \u202eשלם", "CjwKCAjw"),
    ("=cmd|' /C calc'!A0", "\x1b[31m", "\x7f\t", "id"),
    ("s" * 128, "m" * 128, "n" * 128, "i" * 128),
)
MOST: Final = MAX_ABS_MICROS
AMOUNTS: Final = (MOST, MOST, MOST - 1, -MOST, -1, 0, 1, 9_990_000)
LINES: Final = ((MOST, 1), (-MOST, 1), (10**12, 10**6), (10**12, -(10**6)), (MOST, 0), (0, 10**6), (4_990_000, 2))
"""Pairs (price, quantity) whose product is in the range of an amount."""
REPEAT_SHARE: Final = 0.5
TWIN_SHARE: Final = 0.05
_LONG_PATH_BYTES: Final = 2_000
_TWIN_BYTES: Final = max(map(len, TWINS))
_QUIET_TYPES: Final = frozenset(("ENGAGEMENT", "PERFORMANCE", "REFUND", "EXCEPTION", "IDENTIFY"))


class Deed(NamedTuple):
    """A generated hit that has no id, visitor and time yet.

    Attributes:
        hit: type, payload and context.
        counts: the amounts that the hit adds to the totals if the hit is on time and not from a bot.
        campaign: campaign number or NO_CAMPAIGN. For a non-interactive hit, the value is encoded with
            hitmesh.tools.load.visits.QUIET.
        is_repeat: whether the hit repeats an order or refund of the same frame.
    """

    hit: hit_pb2.Hit
    counts: Counts
    campaign: int
    is_repeat: bool = False


class WildDoings:
    """Generator of hits."""

    def __init__(self, random: Random, run: str) -> None:
        self._random = random
        self._run = run
        self._number = 0
        self._repeatable: tuple[int, hit_pb2.Hit] | None = None
        self._makers: tuple[Callable[[hit_pb2.Hit], dict[str, int]], ...] = (
            self._page_view, self._page_view, self._screen_view, self._event, self._engagement, self._performance,
            self._cart, self._checkout, self._order, self._order, self._refund, self._search, self._exception,
            self._identify, self._product_view,
        )  # fmt: skip

    def deed(self, number: int, frame: int, *, is_bot: bool) -> Deed:
        """Generate the hit with this number in the run; `number` must increase from call to call."""
        self._number = number
        hit = hit_pb2.Hit()
        adds = None if is_bot else self._repeat(hit, frame)
        is_repeat = adds is not None
        if adds is None:
            adds = self._random.choice(self._makers)(hit)
            is_claim = hit.type in (hit_pb2.HIT_TYPE_ORDER, hit_pb2.HIT_TYPE_REFUND)
            if is_claim and not is_bot:
                self._repeatable = (frame, hit_pb2.Hit())
                self._repeatable[1].CopyFrom(hit)
        campaign = self._surround(hit, is_bot=is_bot)
        if hit_pb2.HitType.Name(hit.type).removeprefix("HIT_TYPE_") in _QUIET_TYPES or (
            hit.HasField("event") and hit.event.HasField("interactive") and not hit.event.interactive
        ):
            campaign = QUIET - campaign
        return Deed(hit, Counts(1, **_ZERO | adds), campaign, is_repeat)

    # ------------------------------------------------------------------------------------------------------- texts

    def _text(self, most_bytes: int, among: tuple[str, ...] = TEXTS) -> str:
        """Return a text of at most `most_bytes` bytes; most of these texts are unique in the run."""
        if most_bytes >= _TWIN_BYTES and self._random.random() < TWIN_SHARE:
            return self._random.choice(TWINS)
        piece = self._random.choice(among)
        text = piece if self._random.random() < 0.1 else f"{piece}{self._number:x}"
        return text.encode()[:most_bytes].decode(errors="ignore")

    def _id(self, kind: str) -> str:
        return f"{self._run}-{kind}{self._number:x}-{self._random.choice(PRINTABLE)}"

    # ---------------------------------------------------------------------------------------------------- payloads

    def _repeat(self, hit: hit_pb2.Hit, frame: int) -> dict[str, int] | None:
        """Repeat the frame's last order or refund at random; return None if the hit stays unchanged."""
        if self._repeatable is None or self._random.random() >= REPEAT_SHARE:
            return None
        (of_frame, first), self._repeatable = self._repeatable, None
        if of_frame != frame:
            return None
        hit.CopyFrom(first)
        return {}

    def _page_view(self, hit: hit_pb2.Hit) -> dict[str, int]:
        random = self._random
        path = f"/{self._number:x}/{random.choice(PRINTABLE)}"
        if random.random() < 0.1:
            path += "x" * (_LONG_PATH_BYTES - len(path.encode()))
        hit.type = hit_pb2.HIT_TYPE_PAGE_VIEW
        hit.page_view.url = f"{scenery.ORIGIN}{path}?q={self._text(64, PRINTABLE)}&a=&=b#part"
        hit.page_view.title = self._text(256)
        hit.page_view.referrer = f"https://h{self._number:x}.example.org/{self._text(64, PRINTABLE)}"
        hit.page_view.view_id = self._text(64)
        hit.page_view.http_status = random.choice((100, 200, 404, 599))
        return {"pageviews": 1}

    def _screen_view(self, hit: hit_pb2.Hit) -> dict[str, int]:
        hit.type = hit_pb2.HIT_TYPE_SCREEN_VIEW
        hit.screen_view.screen_name = self._text(256)
        hit.screen_view.view_id = self._text(64)
        return {"pageviews": 1}

    def _event(self, hit: hit_pb2.Hit) -> dict[str, int]:
        hit.type = hit_pb2.HIT_TYPE_EVENT
        hit.event.name = self._text(128, PRINTABLE)
        hit.event.value = self._random.choice((1e308, -1e-308, 0.0))
        if self._random.random() < 0.5:
            hit.event.interactive = self._random.random() < 0.5
        return {"events": 1}

    def _engagement(self, hit: hit_pb2.Hit) -> dict[str, int]:
        hit.type = hit_pb2.HIT_TYPE_ENGAGEMENT
        hit.engagement.view_id = self._text(64)
        hit.engagement.foreground_ms = 3_600_000
        hit.engagement.scroll_percent = 100
        return {}

    def _performance(self, hit: hit_pb2.Hit) -> dict[str, int]:
        hit.type = hit_pb2.HIT_TYPE_PERFORMANCE
        hit.performance.view_id = self._text(64)
        for name in ("dns_ms", "connect_ms", "ttfb_ms", "fcp_ms", "lcp_ms", "load_ms", "inp_ms", "cls_e4"):
            setattr(hit.performance, name, self._random.choice((0, 600_000)))
        return {}

    def _cart(self, hit: hit_pb2.Hit) -> dict[str, int]:
        hit.type = hit_pb2.HIT_TYPE_CART_UPDATE
        is_added = self._random.random() < 0.5
        hit.cart.cart_id = self._text(64)
        hit.cart.action = hit_pb2.CART_ACTION_ADD if is_added else hit_pb2.CART_ACTION_REMOVE
        hit.cart.value_micros = self._random.choice(AMOUNTS)
        hit.cart.currency = "usd"
        self._line(hit.cart.items.add())
        return {"cart_adds": int(is_added)}

    def _checkout(self, hit: hit_pb2.Hit) -> dict[str, int]:
        hit.type = hit_pb2.HIT_TYPE_CHECKOUT_STEP
        hit.checkout.cart_id = self._text(64)
        hit.checkout.step = self._random.choice((1, 10))
        return {"checkouts_started": int(hit.checkout.step == 1)}

    def _order(self, hit: hit_pb2.Hit) -> dict[str, int]:
        choice, order = self._random.choice, hit.order
        hit.type = hit_pb2.HIT_TYPE_ORDER
        order.order_id, order.currency = self._id("order"), choice(("USD", "usd", ""))
        order.total_micros, order.tax_micros = choice(AMOUNTS), choice(AMOUNTS)
        order.shipping_micros, order.discount_micros = choice(AMOUNTS), choice(AMOUNTS)
        order.subtotal_micros, order.coupon = choice(AMOUNTS), self._text(64)
        lines = [self._line(order.items.add()) for _ in range(self._random.randrange(8))]
        return {
            "orders": 1,
            "gross_revenue": order.total_micros,
            "tax": order.tax_micros,
            "shipping": order.shipping_micros,
            "discounts": order.discount_micros,
            "item_revenue": sum(revenue for revenue, _ in lines),
            "items_sold": sum(quantity for _, quantity in lines),
        }

    def _line(self, item: hit_pb2.Item) -> tuple[int, int]:
        """Fill an item; return the revenue and the number of items sold."""
        item.sku, item.name, item.brand = self._text(64), self._text(128), self._text(64)
        item.variant = self._text(64)
        item.category.extend(self._text(64) for _ in range(5))
        if self._random.random() < 0.2:  # for goods sold by weight, the item's amount is price × weight
            item.unit_price_micros, item.quantity_exact = 2_000_002, 1.5
            return 3_000_003, 1
        item.unit_price_micros, item.quantity = self._random.choice(LINES)
        return item.unit_price_micros * item.quantity, item.quantity

    def _refund(self, hit: hit_pb2.Hit) -> dict[str, int]:
        hit.type = hit_pb2.HIT_TYPE_REFUND
        hit.refund.refund_id, hit.refund.currency = self._id("refund"), "USD"
        # no order has this id, so a refund without an amount stays 0 after settlement
        hit.refund.order_id = self._id("unknown")
        hit.refund.amount_micros = self._random.choice((MOST, MOST - 1, 1, 0))
        hit.refund.kind = hit_pb2.REFUND_KIND_PARTIAL if hit.refund.amount_micros else hit_pb2.REFUND_KIND_FULL
        return {"refunds": hit.refund.amount_micros}

    def _search(self, hit: hit_pb2.Hit) -> dict[str, int]:
        hit.type = hit_pb2.HIT_TYPE_SITE_SEARCH
        hit.search.term, hit.search.results = self._text(256), 0
        return {}

    def _exception(self, hit: hit_pb2.Hit) -> dict[str, int]:
        hit.type = hit_pb2.HIT_TYPE_EXCEPTION
        hit.exception.name, hit.exception.message = self._text(128), self._text(500) * 10
        hit.exception.fatal = True
        return {}

    def _identify(self, hit: hit_pb2.Hit) -> dict[str, int]:
        hit.type = hit_pb2.HIT_TYPE_IDENTIFY
        hit.identify.traits[self._text(64)].string_value = self._text(500)
        return {}

    def _product_view(self, hit: hit_pb2.Hit) -> dict[str, int]:
        hit.type = hit_pb2.HIT_TYPE_PRODUCT_VIEW
        hit.product_view.sku = self._text(64)
        self._line(hit.product_view.item)
        return {"product_views": 1}

    # -------------------------------------------------------------------------------------------- all other fields

    def _surround(self, hit: hit_pb2.Hit, *, is_bot: bool) -> int:
        """Fill all fields outside the payload; return the campaign's number."""
        random, context = self._random, hit.context
        hit.user_id, hit.client_visit_id, hit.sequence = self._text(128), self._text(64), 2**32 - 1
        hit.offline = False
        agent = random.choice(scenery.BOT_AGENTS if is_bot else scenery.AGENTS)
        context.device.user_agent = f"{agent} {self._text(64)}" if not is_bot and random.random() < 0.1 else agent
        context.device.platform_hint, context.device.mobile_hint = self._text(64), True
        context.device.screen_width = context.device.viewport_height = 2**31 - 1
        context.device.screen_height = context.device.viewport_width = -1
        context.locale.language, context.locale.utc_offset_minutes = self._text(35), -840
        context.consent.analytics = context.consent.advertising = hit_pb2.CONSENT_STATE_GRANTED
        context.app.app_id, context.app.version = self._text(128), self._text(32)
        for _ in range(27 if random.random() < 0.02 else 2):
            hit.properties[f"{random.random()}{random.choice(PRINTABLE)}"].string_value = self._text(500)
        hit.properties["int"].int_value, hit.properties["double"].double_value = -(2**63), 1e308
        hit.properties["bool"].bool_value = True
        campaign = random.randrange(len(CAMPAIGNS) + 1) if random.random() < 0.5 else NO_CAMPAIGN
        if campaign != NO_CAMPAIGN:
            sent = context.campaign
            sent.source, sent.medium, sent.campaign, sent.click_id = CAMPAIGNS[campaign - 1]
            sent.term, sent.content, sent.click_id_kind = self._text(128), self._text(128), "gclid"
        return campaign


_ZERO: Final = {name: 0 for name in Counts._fields if name not in Counts._field_defaults and name != "hits"}
