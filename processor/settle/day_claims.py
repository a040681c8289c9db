"""Reads the claims on which a settlement decides: the claims on orders and refunds in the window's hits (rule D3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from hitmesh.model.claims import ClaimKind, OrderClaim
from hitmesh.model.hit_types import HitType
from hitmesh.model.positions import PartitionId
from hitmesh.model.sites import SiteDay
from hitmesh.model.zones import DAY_MS
from hitmesh.ports import OrderClaims, RawStore
from processor.erase.visitors import ErasedVisitors
from processor.rules.orders import HitAt, seen_claims, with_flags
from processor.rules.refunds import claims_refund, takes_total, with_totals
from processor.settle.site_window import SpilledWindow, Window


@dataclass(frozen=True, slots=True)
class DayClaims:
    """Reads the claims that a site-day's settlement needs.

    Claims that the settlement's scan has not read are left out.

    Attributes:
        site_day: the site-day.
        stored: the store with the claims.
        raw: the store with the hits.
        hits_before: the offsets at which the hit scan ends (exclusive).
        flags: the claims' duplicate flags that differ from the stored flags.
        erased: recognises erased visitors' claims.
    """

    site_day: SiteDay
    stored: OrderClaims
    raw: RawStore
    hits_before: Mapping[PartitionId, int]
    flags: Mapping[HitAt, bool]
    erased: ErasedVisitors

    def of(
        self, window: Window | SpilledWindow, known_until: int
    ) -> tuple[list[OrderClaim], Mapping[str, Sequence[int]]]:
        """Return the claims on the order and refund ids in the window's hits.

        Also return, for each order, the days on which a refund without an amount refunds the order's total.
        """
        site, day = self.site_day
        known = window.claiming.filter(pl.col("event_time").is_between(day * DAY_MS, known_until, closed="left"))
        orders = _ids(known, "order_id", (pl.col("hit_type") == HitType.ORDER) & pl.col("order_id").is_not_null())
        refunded = _ids(known, "order_id", takes_total())
        refunds = _ids(known, "refund_id", claims_refund())
        every = sorted({*orders, *refunded})
        found = [
            *(self.stored.of(site, every) if every else ()),
            *(self.stored.of(site, refunds, ClaimKind.REFUND) if refunds else ()),
        ]
        if self.erased:
            found = [claim for claim in found if not self.erased.has_claim(claim)]
        claims = with_flags(seen_claims(found, self.hits_before), self.flags)
        if refunded:
            claims = with_totals(claims, set(refunded), self.raw)
        return claims, self.stored.refund_days(site, orders) if orders else {}


def _ids(hits: pl.DataFrame, name: str, wanted: pl.Expr) -> list[str]:
    """Return the distinct ids in a column of the wanted hits, sorted."""
    found: list[str] = hits.filter(wanted)[name].unique().sort().to_list()
    return found
