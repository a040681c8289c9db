"""The inputs of a settlement, as values."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from hitmesh.model.claims import OrderClaim
from hitmesh.model.limits import LG_K_CELL
from hitmesh.model.positions import PartitionId
from hitmesh.model.sites import VisitPolicy
from processor.rules.carry import Carry
from processor.rules.orders import HitAt
from processor.rules.rollups import RowOwner
from processor.settle.memory import DEFAULT_MEMORY, SettleMemory
from processor.settle.site_window import SpilledWindow, Window


@dataclass(frozen=True, slots=True)
class DayInputs:
    """The inputs of a settlement.

    Attributes:
        owner: site, UTC day and generation.
        policy: the site's visit policy under the day's logic version; its cap and its gap must be at most a day.
        zone: the site's time zone.
        window: the site's hits; must begin 2 h before the day, or 26 h before the day without a carry, and must end 2 h
            after `known_until`.
        known_until: the instant up to which visits are followed; at least the day's end.
        carry: the previous day's carry; None when that day was never settled.
        claims: all claims on the window's orders and refunds whose records the window's scan read; claims on the same
            id must be in log order.
        refund_days: per order in the window, the days with refunds that get their amount from the order.
        rejected: number of refused hits per cell of the day, by collect time.
        read_through: the offsets up to which the current generation was read; empty without a generation.
        lg_k: log2 of the visitor sketches' size; must equal the stream's.
        carried_policy: the visit policy for visits that began before the day, if the previous day has another logic
            version or another policy; None: `policy`.
        memory: limits; no number depends on them.
        excluded_before: whether the hits of claims are excluded in the current generations; an absent hit has the flag
            of its claim.
    """

    owner: RowOwner
    policy: VisitPolicy
    zone: str
    window: Window | SpilledWindow
    known_until: int
    carry: Carry | None
    claims: Sequence[OrderClaim] = ()
    refund_days: Mapping[str, Collection[int]] = field(default_factory=dict)
    rejected: Mapping[int, int] = field(default_factory=dict)
    read_through: Mapping[PartitionId, int] = field(default_factory=dict)
    lg_k: int = LG_K_CELL
    carried_policy: VisitPolicy | None = None
    memory: SettleMemory = DEFAULT_MEMORY
    excluded_before: Mapping[HitAt, bool] = field(default_factory=dict)
