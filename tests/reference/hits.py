"""The hit of the reference, the lists of interactive types and view types, and the hash that breaks ties.

A hit of the reference has passed admission, which has decided the hit's time and visitor and has classified its user
agent. The reference does not model admission.
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
"""The position of a hit in the log, as the tuple (log time in ms, log, partition, offset, row).

Sorting positions gives the log order.
"""

Campaign = tuple[str, str, str, str]
"""A campaign as the tuple (source, medium, campaign, click id). Without a campaign, all four texts are empty."""

NO_CAMPAIGN: Campaign = ("", "", "", "")


def hash64(*parts: str) -> int:
    """Return XXH3-64 (seed 0) of the parts.

    Each part is hashed as its length in four little-endian bytes, followed by its UTF-8 bytes.
    """
    framed = b"".join(struct.pack("<I", len(raw)) + raw for raw in (part.encode() for part in parts))
    return xxhash.xxh3_64_intdigest(framed, seed=0)


@dataclass(frozen=True)
class RefItem:
    """An item of an order. Money is in micros, and the levels of the category are joined by "/"."""

    sku: str
    category: str | None = None
    brand: str | None = None
    unit_price_micros: int = 0
    quantity: int = 1


@dataclass(frozen=True)
class RefHit:
    """An admitted hit.

    `event_time` is in UTC milliseconds, and amounts are in micros of `currency`. `interactive` matters only for EVENT.
    For all other types, the type decides whether a hit is interactive. `product`, `category` and `brand` come from the
    first item in a PRODUCT_VIEW or CART_UPDATE. In an ORDER, the products are in `items`. A REFUND with 0 micros
    refunds the whole order. `user_agent`, `url`, `referrer` and `search_term` are the values that the client sends. The
    reference does not read these values, but only the fields that admission derives.
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
        """The hash that orders a visitor's hits at the same instant (rule S0)."""
        return hash64(self.hit_id)

    @property
    def is_interactive(self) -> bool:
        """Whether the hit is interactive (rules.md §4)."""
        return self.type in INTERACTIVE_TYPES and self.interactive

    @property
    def is_view(self) -> bool:
        """Whether the hit shows a page or screen."""
        return self.type in VIEW_TYPES


def in_log_order(hits: Iterable[RefHit], first_offset: int = 0) -> list[RefHit]:
    """Return the hits with positions in a single log partition, in the given order."""
    return [
        replace(hit, position=(first_offset + index, "log", 0, first_offset + index, 0))
        for index, hit in enumerate(hits)
    ]
