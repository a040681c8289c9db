"""The reference's idea of a hit, the two lists of hit types that matter, and the hash that breaks ties.

A hit here is already admitted: its time is decided, its visitor known, its user agent judged. What admission
does is not modelled.
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
"""Where a hit stands in the log: (log time ms, log, partition, offset, row); tuples compare in log order."""

Campaign = tuple[str, str, str, str]
"""(source, medium, campaign, click id); all empty: none."""

NO_CAMPAIGN: Campaign = ("", "", "", "")


def hash64(*parts: str) -> int:
    """XXH3-64 with seed 0 over the parts, each as four little-endian length bytes and its UTF-8 bytes."""
    framed = b"".join(struct.pack("<I", len(raw)) + raw for raw in (part.encode() for part in parts))
    return xxhash.xxh3_64_intdigest(framed, seed=0)


@dataclass(frozen=True)
class RefItem:
    """One line of an order; money in micros, category levels joined by "/"."""

    sku: str
    category: str | None = None
    brand: str | None = None
    unit_price_micros: int = 0
    quantity: int = 1


@dataclass(frozen=True)
class RefHit:
    """One admitted hit.

    `event_time` is UTC milliseconds, amounts are micros of `currency`. `interactive` matters for EVENT only;
    the other types are interactive or not by what they are. `product`, `category` and `brand` are those of
    the first item of a PRODUCT_VIEW or CART_UPDATE; an ORDER has `items` instead. A REFUND of 0 micros is one of
    all of its order. `user_agent`, `url`,
    `referrer` and `search_term` are what a client sends; the reference itself reads only what admission makes
    of them.
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
        """Breaks the tie between hits of one visitor at one instant (rule S0)."""
        return hash64(self.hit_id)

    @property
    def is_interactive(self) -> bool:
        """Whether the visitor did something (rules.md §4, interactive hits)."""
        return self.type in INTERACTIVE_TYPES and self.interactive

    @property
    def is_view(self) -> bool:
        """Whether a page or a screen was shown."""
        return self.type in VIEW_TYPES


def in_log_order(hits: Iterable[RefHit], first_offset: int = 0) -> list[RefHit]:
    """The same hits, standing in one partition of one log in the order in which they are given."""
    return [
        replace(hit, position=(first_offset + index, "log", 0, first_offset + index, 0))
        for index, hit in enumerate(hits)
    ]
