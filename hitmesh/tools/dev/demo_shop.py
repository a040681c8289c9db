"""Generates a shop for `hitmesh dev`: visits on the 30 days up to now.

Equal seeds and times give equal hits.

This module decides how visitors behave: their sources, the pages that they view, and how often they buy or request
refunds. The module is pure; seed and time are arguments.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Final

from hitmesh.api.hit.v1 import hit_pb2
from hitmesh.model.cells import HOUR_MS
from hitmesh.model.zones import DAY_MS

ORIGIN: Final = "https://shop.example"
DEFAULT_SEED: Final = 7
DEFAULT_DAYS: Final = 30
VISITS_PER_DAY: Final = 240
VISITORS: Final = 3_500
MAX_PAGES: Final = 9

# Relative numbers of visits for each hour of the UTC day, and for each weekday. The first weekday is Thursday, because
# 1970-01-01 was a Thursday.
_HOURS: Final = (2, 1, 1, 1, 1, 2, 4, 6, 7, 8, 9, 9, 10, 9, 8, 8, 8, 9, 11, 13, 14, 12, 8, 4)
_WEEKDAYS: Final = (1.0, 1.05, 1.2, 1.25, 0.95, 0.9, 0.95)


@dataclass(frozen=True, slots=True)
class Product:
    """A product of the shop."""

    sku: str
    name: str
    category: tuple[str, ...]
    brand: str
    price_micros: int

    @property
    def path(self) -> str:
        """Path of the product page."""
        return f"/product/{self.sku}"

    def item(self, quantity: int = 1) -> hit_pb2.Item:
        """Return this product as an item for a cart, an order or a view."""
        return hit_pb2.Item(
            sku=self.sku,
            name=self.name,
            category=self.category,
            brand=self.brand,
            unit_price_micros=self.price_micros,
            quantity=quantity,
        )


@dataclass(frozen=True, slots=True)
class Origin:
    """A traffic source; `weight` is its relative share of visits."""

    weight: int
    referrer: str = ""
    query: str = ""
    campaign: tuple[str, str, str, str] = ("", "", "", "")


PRODUCTS: Final = tuple(
    Product(sku, name, category, brand, cents * 10_000)
    for sku, name, category, brand, cents in (
        ("kettle-1", "Kettle", ("kitchen", "kettles"), "Aquila", 3_990),
        ("kettle-2", "Whistling kettle", ("kitchen", "kettles"), "Borealis", 5_490),
        ("pan-24", "Pan 24 cm", ("kitchen", "pans"), "Ferrum", 2_950),
        ("pan-28", "Pan 28 cm", ("kitchen", "pans"), "Ferrum", 3_950),
        ("knife-chef", "Chef's knife", ("kitchen", "knives"), "Acer", 8_900),
        ("knife-bread", "Bread knife", ("kitchen", "knives"), "Acer", 4_900),
        ("lamp-desk", "Desk lamp", ("home", "lamps"), "Lumen", 6_990),
        ("lamp-floor", "Floor lamp", ("home", "lamps"), "Lumen", 12_900),
        ("rug-wool", "Wool rug", ("home", "rugs"), "Ovis", 18_900),
        ("rug-jute", "Jute rug", ("home", "rugs"), "Ovis", 7_900),
        ("chair-oak", "Oak chair", ("home", "chairs"), "Quercus", 15_900),
        ("mug-blue", "Blue mug", ("kitchen", "mugs"), "Aquila", 1_290),
        ("mug-red", "Red mug", ("kitchen", "mugs"), "Aquila", 1_290),
        ("tent-2", "Tent for two", ("outdoor", "tents"), "Borealis", 21_900),
        ("tent-4", "Tent for four", ("outdoor", "tents"), "Borealis", 34_900),
        ("stove-gas", "Camping stove", ("outdoor", "stoves"), "Ferrum", 5_990),
        ("bottle-1l", "Bottle 1 l", ("outdoor", "bottles"), "Aquila", 2_490),
        ("backpack-30", "Backpack 30 l", ("outdoor", "backpacks"), "Acer", 9_900),
    )
)
ORIGINS: Final = (
    Origin(30),
    Origin(26, referrer="https://www.google.com/"),
    Origin(5, referrer="https://duckduckgo.com/"),
    Origin(8, referrer="https://www.instagram.com/"),
    Origin(4, referrer="https://www.reddit.com/r/BuyItForLife/"),
    Origin(4, referrer="https://chatgpt.com/"),
    Origin(6, referrer="https://blog.example.org/best-kettles"),
    Origin(
        9,
        query="utm_source=newsletter&utm_medium=email&utm_campaign=autumn",
        campaign=("newsletter", "email", "autumn", ""),
    ),
    Origin(
        8,
        referrer="https://www.google.com/",
        query="utm_source=google&utm_medium=cpc&utm_campaign=kitchen&gclid=demo",
        campaign=("google", "cpc", "kitchen", "demo"),
    ),
)
AGENTS: Final = (
    (
        30,
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 "
        "Safari/537.36",
    ),
    (
        12,
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 "
        "Safari/605.1.15",
    ),
    (
        28,
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.1 "
        "Mobile/15E148 Safari/604.1",
    ),
    (
        20,
        "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Mobile "
        "Safari/537.36",
    ),
    (7, "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0"),
    (3, "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"),
)
ARTICLES: Final = ("/blog/choosing-a-knife", "/blog/camping-list", "/blog/care-for-wool", "/about", "/shipping")
SEARCHES: Final = ("kettle", "tent", "wool rug", "gift", "lamp")


def demo_hits(
    now_ms: int, *, seed: int = DEFAULT_SEED, days: int = DEFAULT_DAYS, currency: str = "USD"
) -> list[hit_pb2.Hit]:
    """Return the shop's hits in time order, from the start of the UTC day `days - 1` days ago to `now_ms`.

    Visits that would continue after `now_ms` end at `now_ms`. Ids are unique within one call.
    """
    random = Random(seed)
    first_day = now_ms // DAY_MS - (days - 1)
    hits = [
        hit
        for day in range(first_day, first_day + days)
        for start_ms in _starts_ms(random, day)
        for hit in _Visit(random, start_ms, currency).hits()
    ]
    hits = [hit for hit in hits if hit.true_time.ToMilliseconds() <= now_ms]
    hits.sort(key=lambda hit: hit.true_time.ToMilliseconds())
    for number, hit in enumerate(hits):
        hit.hit_id = f"demo-{seed}-{number:06d}"
    return hits


def _starts_ms(random: Random, day: int) -> Iterator[int]:
    weight = _WEEKDAYS[day % len(_WEEKDAYS)]
    for _ in range(round(VISITS_PER_DAY * weight * random.uniform(0.85, 1.15))):
        hour = random.choices(range(len(_HOURS)), _HOURS)[0]
        yield day * DAY_MS + hour * HOUR_MS + random.randrange(HOUR_MS)


class _Visit:
    """A visit: a sequence of hits some seconds apart."""

    def __init__(self, random: Random, start_ms: int, currency: str) -> None:
        self._random = random
        self._at_ms = start_ms
        self._currency = currency
        # The square of the random number makes low visitor numbers more likely, so that some visitors come often and
        # most visitors come once.
        number = int(VISITORS * random.random() ** 2)
        self._visitor = f"demo-visitor-{number}"
        # The browser is derived from the visitor's number, so that a visitor always uses the same browser.
        self._agent = _pick(AGENTS, number * 7919 % 100)
        self._origin = random.choices(ORIGINS, [origin.weight for origin in ORIGINS])[0]
        self._referrer = self._origin.referrer
        self._cart: list[Product] = []

    def hits(self) -> Iterator[hit_pb2.Hit]:
        """Yield the hits of the visit."""
        random = self._random
        yield self._page(
            random.choices(("/", "/sale", random.choice(PRODUCTS).path, random.choice(ARTICLES)), (5, 2, 3, 2))[0]
        )
        for _ in range(min(MAX_PAGES, int(random.expovariate(0.45)))):
            kind = random.random()
            if kind < 0.12:
                yield self._page(random.choice(ARTICLES))
            elif kind < 0.20:
                yield self._search(random.choice(SEARCHES))
            else:
                yield from self._look_at(random.choice(PRODUCTS))
        if self._cart and random.random() < 0.6:
            yield from self._check_out()

    def _look_at(self, product: Product) -> Iterator[hit_pb2.Hit]:
        yield self._page(product.path)
        view = self._hit(hit_pb2.HIT_TYPE_PRODUCT_VIEW, pause_s=0)
        view.product_view.sku = product.sku
        view.product_view.item.CopyFrom(product.item())
        yield view
        if self._random.random() < 0.14:
            self._cart.append(product)
            added = self._hit(hit_pb2.HIT_TYPE_CART_UPDATE)
            added.cart.action = hit_pb2.CART_ACTION_ADD
            added.cart.items.append(product.item())
            added.cart.value_micros = product.price_micros
            added.cart.currency = self._currency
            yield added

    def _check_out(self) -> Iterator[hit_pb2.Hit]:
        yield self._page("/cart")
        for step in (1, 2):
            checkout = self._hit(hit_pb2.HIT_TYPE_CHECKOUT_STEP)
            checkout.checkout.step = step
            yield checkout
            if self._random.random() < 0.2:
                return
        order = self._order()
        yield order
        yield self._page("/thank-you")
        if self._random.random() < 0.06:
            yield self._refund(order.order)

    def _order(self) -> hit_pb2.Hit:
        hit = self._hit(hit_pb2.HIT_TYPE_ORDER)
        order = hit.order
        order.order_id = f"demo-{self._at_ms}-{self._visitor.rpartition('-')[2]}"
        order.currency = self._currency
        order.items.extend(product.item(self._random.choices((1, 2, 3), (8, 2, 1))[0]) for product in self._cart)
        order.subtotal_micros = sum(item.unit_price_micros * item.quantity for item in order.items)
        order.shipping_micros = 0 if order.subtotal_micros >= 50_000_000 else 4_900_000
        order.tax_micros = order.subtotal_micros // 5 // 10_000 * 10_000
        order.discount_micros = (
            order.subtotal_micros // 10 // 10_000 * 10_000 if self._origin.campaign[1] == "email" else 0
        )
        order.total_micros = order.subtotal_micros + order.shipping_micros + order.tax_micros - order.discount_micros
        return hit

    def _refund(self, order: hit_pb2.Order) -> hit_pb2.Hit:
        hit = self._hit(hit_pb2.HIT_TYPE_REFUND, pause_s=self._random.randrange(86_400, 5 * 86_400))
        hit.refund.refund_id = f"{order.order_id}-r"
        hit.refund.order_id = order.order_id
        hit.refund.amount_micros = order.total_micros
        hit.refund.currency = order.currency
        hit.refund.kind = hit_pb2.REFUND_KIND_FULL
        # The refund is an offline hit, because the shop's own system sends the refund while no visitor is on the page.
        hit.offline = True
        return hit

    def _search(self, term: str) -> hit_pb2.Hit:
        hit = self._hit(hit_pb2.HIT_TYPE_SITE_SEARCH)
        hit.search.term = term
        hit.search.results = self._random.randrange(12)
        return hit

    def _page(self, path: str) -> hit_pb2.Hit:
        hit = self._hit(hit_pb2.HIT_TYPE_PAGE_VIEW)
        first, self._referrer = self._referrer, ORIGIN + path
        query = self._origin.query if not first.startswith(ORIGIN) else ""
        hit.page_view.url = f"{ORIGIN}{path}{'?' if query else ''}{query}"
        hit.page_view.referrer = first
        hit.page_view.http_status = 200
        if query:
            campaign = hit.context.campaign
            campaign.source, campaign.medium, campaign.campaign, campaign.click_id = self._origin.campaign
            campaign.click_id_kind = "gclid" if campaign.click_id else ""
        return hit

    def _hit(self, hit_type: hit_pb2.HitType.ValueType, pause_s: float | None = None) -> hit_pb2.Hit:
        pause = min(600.0, 4 + self._random.expovariate(1 / 55)) if pause_s is None else pause_s
        self._at_ms += int(pause * 1000)
        hit = hit_pb2.Hit(type=hit_type, visitor_id=self._visitor)
        hit.true_time.FromMilliseconds(self._at_ms)
        hit.context.device.user_agent = self._agent
        hit.context.locale.language = "en"
        return hit


def _pick(weighted: Sequence[tuple[int, str]], percent: int) -> str:
    """Return the value whose range contains `percent` (0 to 99).

    The length of a value's range is the value's weight; the weights add up to 100.
    """
    ends = list(accumulate(weight for weight, _ in weighted))
    return weighted[bisect_left(ends, percent + 1)][1]
