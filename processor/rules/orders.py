"""Decides which claim on an order or refund counts (rule D3).

Claims compete if their kinds and ids are equal, and either all or none of their hits are excluded. Among competing
claims, the first claim in log order that is not a duplicate wins. If the winning claim changes, this module also
decides which other days must be settled again. There are few orders, so this module is plain Python. The module
`refunds` decides the amounts of refunds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from hitmesh.model.claims import ClaimKind, OrderClaim
from hitmesh.model.positions import PartitionId, Position

HitAt = tuple[Position, int]
"""The place where a hit is stored: the position of its record, and the hit's row in this record."""

Claimed = tuple[ClaimKind, str, bool]
"""The subject of a claim: (kind, id, whether the claiming hit is excluded)."""


@dataclass(frozen=True, slots=True)
class OrderVerdicts:
    """The verdicts on orders in the settlement of a day.

    Attributes:
        winners: the claim that counts for each subject (`Claimed`). The claim may be on any day.
        changed_flags: the new flag of each claim on this day whose stored duplicate flag must change.
        disturbed_days: the other days that must be settled again, because a claim on the day began or ceased to win.
    """

    winners: Mapping[Claimed, OrderClaim]
    changed_flags: Mapping[HitAt, bool]
    disturbed_days: frozenset[int]

    def wins(self, kind: ClaimKind, claimed: str, at: HitAt, *, excluded: bool) -> bool:
        """Return whether the hit's claim on an order or refund wins."""
        winner = self.winners.get((kind, claimed, excluded))
        return winner is not None and claim_at(winner) == at


def seen_claims(claims: Iterable[OrderClaim], before: Mapping[PartitionId, int]) -> list[OrderClaim]:
    """Return the claims whose records are within the bounds of a scan, in the given order."""
    return [claim for claim in claims if claim.position.offset < before.get(_partition(claim), 0)]


def with_flags(claims: Iterable[OrderClaim], flags: Mapping[HitAt, bool]) -> list[OrderClaim]:
    """Return the claims, with the duplicate flag from `flags` if `flags` contains the claim."""
    if not flags:
        return list(claims)
    return [replace(claim, duplicate=flags.get(claim_at(claim), claim.duplicate)) for claim in claims]


def decide_orders(
    claims: Sequence[OrderClaim],
    day: int,
    duplicates: Mapping[HitAt, bool],
    read_through: Mapping[PartitionId, int],
    refund_days: Mapping[str, Collection[int]] | None = None,
    excluded_before: Mapping[HitAt, bool] | None = None,
) -> OrderVerdicts:
    """Return the winning claims, the duplicate flags that change, and the other days that must be settled again.

    Args:
        claims: all claims on the orders and refunds that are to be decided; claims on one id must be in log order.
        day: the UTC day to settle.
        duplicates: for claiming hits, whether the hit is a copy; hits on other days may be included.
        read_through: the offsets up to which the day's current generation was read; empty without a generation. The
            day's claims in later records are new. A new claim may win an order in place of a claim on another day.
        refund_days: for each order, the days of refunds that take their amount from the order.
        excluded_before: for claiming hits, whether the current generation excludes the hit; for a hit that is missing
            here, the claim's flag applies. If exclusion rules are applied again, another claim on an order may win.
    """
    current = {claim_at(claim): claim.duplicate for claim in claims}
    decided = {key: duplicates.get(key, stored) for key, stored in current.items()}
    known = [
        claim for claim in claims if claim.day != day or claim.position.offset < read_through.get(_partition(claim), 0)
    ]
    if excluded_before:
        known = [replace(claim, excluded=excluded_before.get(claim_at(claim), claim.excluded)) for claim in known]
    before, after = _winners(known, current), _winners(claims, decided)
    moved = {claimed for claimed in before.keys() | after.keys() if _differ(before.get(claimed), after.get(claimed))}
    ends = [claim for claimed in moved for claim in (before.get(claimed), after.get(claimed)) if claim is not None]
    orders = {order_id for kind, order_id, _ in moved if kind is ClaimKind.ORDER}
    waiting = {refund_day for order_id in orders for refund_day in (refund_days or {}).get(order_id, ())}
    return OrderVerdicts(
        winners=after,
        changed_flags={
            claim_at(claim): decided[claim_at(claim)]
            for claim in claims
            if claim.day == day and decided[claim_at(claim)] != claim.duplicate
        },
        disturbed_days=frozenset({claim.day for claim in ends} | waiting) - {day},
    )


def _winners(claims: Iterable[OrderClaim], duplicates: Mapping[HitAt, bool]) -> dict[Claimed, OrderClaim]:
    """Return, for each subject (`Claimed`), the first claim that is not a duplicate."""
    winners: dict[Claimed, OrderClaim] = {}
    for claim in claims:
        if not duplicates[claim_at(claim)]:
            winners.setdefault((claim.kind, claim.order_id, claim.excluded), claim)
    return winners


def _differ(claim: OrderClaim | None, other: OrderClaim | None) -> bool:
    return claim is not other and claim != other  # usually, both claims are the same object, and this test is fast


def claim_at(claim: OrderClaim) -> HitAt:
    """Return where the claim's hit is stored."""
    return claim.position, claim.row


def _partition(claim: OrderClaim) -> PartitionId:
    return PartitionId(claim.position.log, claim.position.partition)
