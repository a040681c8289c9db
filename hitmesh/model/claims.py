"""Claims on orders and refunds (rule D3)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from hitmesh.model.positions import Position


class ClaimKind(StrEnum):
    """The kind of id that a hit claims: an order id or a refund id. Equal ids of different kinds are unrelated."""

    ORDER = "order"
    REFUND = "refund"


@dataclass(frozen=True, slots=True)
class OrderClaim:
    """A hit's claim on an order id or refund id of its site (rule D3).

    An ORDER hit claims its order id; a REFUND hit claims its refund id, if any. A claim is keyed by the position of the
    hit's record and the hit's row in the record. `order_id` is the order id or the refund id, depending on `kind`. For
    an order, `total` (micros) and `currency` are the order's total and currency. In claims on refunds, `total` is None
    and `currency` is "". Claims that were stored before `total` and `currency` existed have the same values as claims
    on refunds.
    """

    site: str
    order_id: str
    log_time: int
    position: Position
    row: int
    visitor_hi: int
    visitor_lo: int
    hit_id: str
    day: int
    excluded: bool
    duplicate: bool = False
    kind: ClaimKind = ClaimKind.ORDER
    total: int | None = None
    currency: str = ""


class WholeRefund(NamedTuple):
    """A REFUND hit without an amount. When the hit's day is settled, the refund gets the order's total (rule D3)."""

    site: str
    order_id: str
    day: int
