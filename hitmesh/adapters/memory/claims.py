"""Keep order claims in memory."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace

from hitmesh.model.claims import ClaimKind, OrderClaim, WholeRefund
from hitmesh.model.positions import Position


class MemoryOrderClaims:
    """Implements the port OrderClaims in memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._claims: dict[tuple[Position, int], OrderClaim] = {}
        self._holders: dict[tuple[str, ClaimKind, str, bool], tuple[Position, int]] = {}
        self._refunds: set[WholeRefund] = set()

    def claim(self, claims: Sequence[OrderClaim]) -> None:
        """Store claims; a claim that is already stored stays unchanged."""
        with self._lock:
            for claim in claims:
                self._claims.setdefault((claim.position, claim.row), claim)

    def of(self, site: str, order_ids: Sequence[str], kind: ClaimKind = ClaimKind.ORDER) -> Sequence[OrderClaim]:
        """Return all claims of this kind on these ids in log order (log time, log, partition, offset, row)."""
        wanted = {(site, kind, order_id) for order_id in order_ids}
        with self._lock:
            found = [claim for claim in self._claims.values() if (claim.site, claim.kind, claim.order_id) in wanted]
        return sorted(found, key=lambda claim: (claim.log_time, claim.position, claim.row))

    def first(self, claims: Sequence[OrderClaim]) -> Sequence[bool]:
        """Return, for each claim, whether this claim is the first on its order id (the id's holder).

        The first claim on an id becomes the holder.
        """
        with self._lock:
            holders = [
                self._holders.setdefault(
                    (claim.site, claim.kind, claim.order_id, claim.excluded), (claim.position, claim.row)
                )
                for claim in claims
            ]
        return [holder == (claim.position, claim.row) for holder, claim in zip(holders, claims, strict=True)]

    def note_refunds(self, refunds: Sequence[WholeRefund]) -> None:
        """Store refunds of whole orders. Idempotent."""
        with self._lock:
            self._refunds.update(refunds)

    def refund_days(self, site: str, order_ids: Sequence[str]) -> Mapping[str, Sequence[int]]:
        """Return the days of each order's stored refunds, ascending; an order without a stored refund is absent."""
        wanted = set(order_ids)
        days: dict[str, list[int]] = {}
        with self._lock:
            for refund in sorted(self._refunds):
                if refund.site == site and refund.order_id in wanted:
                    days.setdefault(refund.order_id, []).append(refund.day)
        return days

    def set_duplicates(self, site: str, verdicts: Mapping[tuple[Position, int], bool]) -> None:
        """Record which claims come from duplicate hits."""
        with self._lock:
            for key, duplicate in verdicts.items():
                claim = self._claims.get(key)
                if claim is not None and claim.site == site:
                    self._claims[key] = replace(claim, duplicate=duplicate)

    def remove(self, claims: Sequence[OrderClaim]) -> None:
        """Remove claims, but keep the holder (the first claim) of each id."""
        with self._lock:
            for claim in claims:
                self._claims.pop((claim.position, claim.row), None)
