"""Hit types and flags as stored numbers. The numbers are those of hitmesh.api.hit.v1.HitType."""

from __future__ import annotations

from enum import IntEnum, IntFlag


class HitType(IntEnum):
    """What happened; the numbers of the protobuf enum."""

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


# Never interactive (rules §4); an EVENT may be sent as non-interactive too.
NON_INTERACTIVE = frozenset(
    {HitType.ENGAGEMENT, HitType.PERFORMANCE, HitType.REFUND, HitType.EXCEPTION, HitType.IDENTIFY}
)


class CartAction(IntEnum):
    """What was done to a cart; the numbers of the protobuf enum."""

    ADD = 1
    REMOVE = 2


class TimeSource(IntEnum):
    """Where an event time came from (rule T1)."""

    TRUE_TIME = 1
    CLIENT_OFFSET = 2
    EDGE_RECEIVE = 3
    COLLECT = 4


class HitFlag(IntFlag):
    """Reversible flags of a stored hit, bits of the column `flags`."""

    CLOCK_SKEW = 1
    BOT_UA = 2
    SPAM_REFERRER = 4


# A hit with any of these is stored, and left out of reports by default.
EXCLUDING_FLAGS = HitFlag.BOT_UA | HitFlag.SPAM_REFERRER
