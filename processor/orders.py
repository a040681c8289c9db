"""Which claim on an order counts (step S of the journey, rule D3).

Decides the winner of each (order, excluded or not): the first claim in log order that is not a duplicate; and which
other days must be settled again because a winner changed. Orders are few, so plain Python. Refuses to know amounts,
visits and where claims are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from hitmesh.ports import OrderClaim, PartitionId, Position

HitAt = tuple[Position, int]
"""Where an ORDER hit is: its record's position and its row in it."""


@dataclass(frozen=True, slots=True)
class OrderVerdicts:
    """What the settlement of a day says about orders.

    Attributes:
        winners: the hits whose order measures count, of all days.
        changed_flags: claims of this day whose duplicate flag is not what is stored.
        disturbed_days: other days of which a claim began or ceased to win.
    """

    winners: frozenset[HitAt]
    changed_flags: Mapping[HitAt, bool]
    disturbed_days: frozenset[int]


def seen_claims(claims: Iterable[OrderClaim], before: Mapping[PartitionId, int]) -> list[OrderClaim]:
    """Return the claims of records that a scan with these bounds saw, in the order given."""
    return [claim for claim in claims if claim.position.offset < before.get(_partition(claim), 0)]


def with_flags(claims: Iterable[OrderClaim], flags: Mapping[HitAt, bool]) -> list[OrderClaim]:
    """Return the claims with these duplicate flags in place of their own."""
    return [replace(claim, duplicate=flags.get(_key(claim), claim.duplicate)) for claim in claims]


def decide_orders(
    claims: Sequence[OrderClaim],
    day: int,
    duplicates: Mapping[HitAt, bool],
    read_through: Mapping[PartitionId, int],
) -> OrderVerdicts:
    """Return who wins.

    Args:
        claims: every claim on the orders in question, in log order.
        day: the UTC day that is settled.
        duplicates: whether each ORDER hit in sight is a copy; of other days too, where the window shows them.
        read_through: what the current generation of the day was read through; empty without one. Claims of the day
            beyond it are new, and may take an order from a claim of another day.
    """
    current = {_key(claim): claim.duplicate for claim in claims}
    decided = {key: duplicates.get(key, stored) for key, stored in current.items()}
    known = [
        claim for claim in claims if claim.day != day or claim.position.offset < read_through.get(_partition(claim), 0)
    ]
    before, after = _winners(known, current), _winners(claims, decided)
    moved = [
        claim
        for order in before.keys() | after.keys()
        if before.get(order) != after.get(order)
        for claim in (before.get(order), after.get(order))
        if claim is not None
    ]
    return OrderVerdicts(
        winners=frozenset(_key(claim) for claim in after.values()),
        changed_flags={
            _key(claim): decided[_key(claim)]
            for claim in claims
            if claim.day == day and decided[_key(claim)] != claim.duplicate
        },
        disturbed_days=frozenset(claim.day for claim in moved) - {day},
    )


def _winners(claims: Iterable[OrderClaim], duplicates: Mapping[HitAt, bool]) -> dict[tuple[str, bool], OrderClaim]:
    """Return the first claim per (order, excluded) that is not a duplicate."""
    winners: dict[tuple[str, bool], OrderClaim] = {}
    for claim in claims:
        if not duplicates[_key(claim)]:
            winners.setdefault((claim.order_id, claim.excluded), claim)
    return winners


def _key(claim: OrderClaim) -> HitAt:
    return claim.position, claim.row


def _partition(claim: OrderClaim) -> PartitionId:
    return PartitionId(claim.position.log, claim.position.partition)
