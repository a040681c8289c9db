"""Convert a claim on an order or a refund to row columns and back, in the same order for every store.

The columns are, in this order: site, id of the order or refund, log, partition, offset, row, log time, high half of the
visitor, low half of the visitor, hit id, day, excluded, duplicate, total, currency. Both halves of the visitor are
signed 64-bit integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hitmesh.adapters.shared.bits import to_signed, to_unsigned
from hitmesh.model.claims import ClaimKind, OrderClaim
from hitmesh.model.positions import Position


def claim_row(claim: OrderClaim) -> tuple[Any, ...]:
    """Return the columns of a claim."""
    return (
        claim.site,
        claim.order_id,
        *claim.position,
        claim.row,
        claim.log_time,
        to_signed(claim.visitor_hi),
        to_signed(claim.visitor_lo),
        claim.hit_id,
        claim.day,
        claim.excluded,
        claim.duplicate,
        claim.total,
        claim.currency,
    )


def claim_of(kind: ClaimKind, row: Sequence[Any]) -> OrderClaim:
    """Return the claim with these columns; rows that older versions of hitmesh wrote have no currency."""
    site, order_id, log, partition, offset, row_no, log_time, high, low, hit_id, day, *flags, total, currency = row
    excluded, duplicate = map(bool, flags)
    return OrderClaim(
        site=site,
        order_id=order_id,
        log_time=log_time,
        position=Position(log, partition, offset),
        row=row_no,
        visitor_hi=to_unsigned(high),
        visitor_lo=to_unsigned(low),
        hit_id=hit_id,
        day=day,
        excluded=excluded,
        duplicate=duplicate,
        kind=kind,
        total=total,
        currency=currency or "",
    )
