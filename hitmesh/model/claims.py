"""Claims on orders and refunds (rule D3)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from hitmesh.model.positions import Position


class ClaimKind(StrEnum):
    """The claimed id: an order's or a refund's. Equal ids of different kinds are unrelated."""

    ORDER = "order"
    REFUND = "refund"


@dataclass(frozen=True, slots=True)
class OrderClaim:
    """A hit's claim on (site, kind, id), keyed by position and row (rule D3): by an ORDER, or a REFUND with an id.

    `order_id` is the order id or the refund id. `total` and `currency` come from an order; None and "" for a refund,
    and for a claim from before claims carried them.
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
    """A REFUND hit without an amount: settling its day refunds the order's total (rule D3)."""

    site: str
    order_id: str
    day: int
