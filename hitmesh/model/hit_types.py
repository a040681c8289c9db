"""Hit types, cart actions and time sources: enums whose numbers are stored.

Hit types have the numbers of hitmesh.api.hit.v1.HitType.
"""

from __future__ import annotations

from enum import IntEnum


class HitType(IntEnum):
    """A hit's type, with the numbers of the protobuf enum."""

    PAGE_VIEW = 1
    SCREEN_VIEW = 2
    EVENT = 3
    ENGAGEMENT = 4
    PERFORMANCE = 5
    CART_UPDATE = 6
    CHECKOUT_STEP = 7
    ORDER = 8
    REFUND = 9
    SITE_SEARCH = 10
    EXCEPTION = 11
    IDENTIFY = 12
    PRODUCT_VIEW = 13


# Hits of these types are never interactive (rules §4). A client may also send an EVENT as non-interactive.
NON_INTERACTIVE = frozenset(
    {HitType.ENGAGEMENT, HitType.PERFORMANCE, HitType.REFUND, HitType.EXCEPTION, HitType.IDENTIFY}
)


class CartAction(IntEnum):
    """The change that a CART_UPDATE makes to a cart, with the numbers of the protobuf enum."""

    ADD = 1
    REMOVE = 2


class TimeSource(IntEnum):
    """The source of a hit's event time (rule T1)."""

    TRUE_TIME = 1
    CLIENT_OFFSET = 2
    EDGE_RECEIVE = 3
    COLLECT = 4
