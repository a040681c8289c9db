"""The reference's hit, the two relevant lists of hit types, and the hash that breaks ties.

A hit here is already admitted: time, visitor and user agent class are decided. Admission is not modelled.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, replace

import xxhash

INTERACTIVE_TYPES = frozenset(
    {
        "PAGE_VIEW",
        "SCREEN_VIEW",
        "PRODUCT_VIEW",
        "CART_UPDATE",
        "CHECKOUT_STEP",
        "ORDER",
        "SITE_SEARCH",
        "EVENT",
    }
)
VIEW_TYPES = frozenset({"PAGE_VIEW", "SCREEN_VIEW"})

Position = tuple[int, str, int, int, int]
"""A hit's place in the log: (log time ms, log, partition, offset, row); tuples compare in log order."""

Campaign = tuple[str, str, str, str]
"""(source, medium, campaign, click id); all empty means no campaign."""

NO_CAMPAIGN: Campaign = ("", "", "", "")


def hash64(*parts: str) -> int:
    """Return XXH3-64 with seed 0 over the parts, each as four little-endian length bytes and its UTF-8 bytes."""
    framed = b"".join(struct.pack("<I", len(raw)) + raw for raw in (part.encode() for part in parts))
    return xxhash.xxh3_64_intdigest(framed, seed=0)


@dataclass(frozen=True)
class RefItem:
    """An order line; money in micros, category levels joined by "/"."""

    sku: str
    category: str | None = None
    brand: str | None = None
    unit_price_micros: int = 0
    quantity: int = 1


@dataclass(frozen=True)
class RefHit:
    """An admitted hit.

    `event_time` is UTC milliseconds, amounts are micros of `currency`. `interactive` matters for EVENT only; for all
    other types, the type decides. `product`, `category` and `brand` come from the first item in a PRODUCT_VIEW or
    CART_UPDATE; an ORDER has `items` instead. A REFUND with 0 micros refunds the whole order. `user_agent`, `url`,
    `referrer` and `search_term` are the client's values; the reference reads only the fields that admission derives
    from them.
    """

    site: str
    visitor: str
    hit_id: str
    event_time: int
    type: str = "PAGE_VIEW"
    position: Position = (0, "", 0, 0, 0)
    interactive: bool = True
    offline: bool = False
    excluded: bool = False
    campaign: Campaign = NO_CAMPAIGN
    page_path: str | None = None
    hostname: str | None = None
    channel: str | None = None
    source: str | None = None
    medium: str | None = None
    referrer_host: str | None = None
    device_type: str | None = None
    browser: str | None = None
    os: str | None = None
    event_name: str | None = None
    product: str | None = None
    category: str | None = None
    brand: str | None = None
    cart_action: str | None = None
    checkout_step: int | None = None
    order_id: str | None = None
    currency: str | None = None
    total_micros: int | None = None
    tax_micros: int | None = None
    shipping_micros: int | None = None
    discount_micros: int | None = None
    refund_micros: int | None = None
    refund_id: str | None = None
    items: tuple[RefItem, ...] = ()
    is_late: bool = False
    clock_skewed: bool = False
    user_agent: str = ""
    url: str | None = None
    referrer: str | None = None
    search_term: str | None = None

    @property
    def hit_hash(self) -> int:
        """Tie-breaker between a visitor's hits at the same instant (rule S0)."""
        return hash64(self.hit_id)

    @property
    def is_interactive(self) -> bool:
        """Whether the visitor acted (rules.md §4, interactive hits)."""
        return self.type in INTERACTIVE_TYPES and self.interactive

    @property
    def is_view(self) -> bool:
        """Whether the hit shows a page or screen."""
        return self.type in VIEW_TYPES


def in_log_order(hits: Iterable[RefHit], first_offset: int = 0) -> list[RefHit]:
    """Return the hits placed in a single log partition, in the given order."""
    return [
        replace(hit, position=(first_offset + index, "log", 0, first_offset + index, 0))
        for index, hit in enumerate(hits)
    ]
