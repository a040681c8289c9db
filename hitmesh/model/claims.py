"""Claims on orders and refunds (rule D3)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from hitmesh.model.positions import Position


class ClaimKind(StrEnum):
    """What is claimed: the id of an order or of a refund. Equal ids of two kinds have nothing to do with each other."""

    ORDER = "order"
    REFUND = "refund"


@dataclass(frozen=True, slots=True)
class OrderClaim:
    """A hit's claim on (site, kind, id), keyed by position and row (rule D3): of an ORDER, or of a REFUND with an id.

    `order_id` is the id of either. `total` and `currency` are those of an order; None and "" of a refund, and of a
    claim that was made before claims carried them.
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
    """A REFUND hit that named no amount: at the settlement of its day it takes the total of its order (rule D3)."""

    site: str
    order_id: str
    day: int
