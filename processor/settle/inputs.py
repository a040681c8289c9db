"""A settlement's inputs, as values."""

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
    """A settlement's inputs.

    Attributes:
        owner: site, UTC day and generation.
        policy: the site's visit policy in the day's logic version, with a cap and a gap of at most a day.
        zone: the site's time zone.
        window: the site's hits. The window must begin 2 h before the day (26 h if there is no carry), and must end 2 h
            after `known_until`.
        known_until: visits are followed up to this instant. The instant must not be before the day's end.
        carry: the carry from the day before; None if that day was never settled.
        claims: all claims on the window's orders and refunds. The scan that read the window has also read the records
            of these claims. Claims on the same id must be in log order.
        refund_days: for each order in the window, the days with refunds that take their amount from the order.
        rejected: how many refused hits each cell of the day has, according to their collect time.
        read_through: the offsets up to which the current generation was read; empty without a generation.
        lg_k: log2 of the visitor sketches' size, the same as in the stream.
        carried_policy: the policy for visits that began before the day, if the previous day has another logic version
            or policy; None means that `policy` applies.
        memory: the limits that bound the memory. The settlement's results do not depend on the memory limits.
        excluded_before: for claiming hits, whether the current generations exclude the hit. If a hit is not in
            `excluded_before`, the stored claim's flag applies.
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
