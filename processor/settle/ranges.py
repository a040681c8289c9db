"""Settles a site-day, however large, in bounded memory.

A site-day with at most `SettleMemory.range_hits` hits is settled as a whole. A larger site-day's hits are on disk,
in groups of visitors. First, the copies in each visitor range are found. Second, the whole site's claims are
decided. Third, each range's visits and contributions are built. Contributions are stored on disk by cell, and are
folded into rows at the end. Both ways of settling a site-day have the same result, because sums, digests and sketches
do not depend on the order in which values are added.

The memory contains one range, a bit for each hit of the day, and about 1 KB for each claim on an order or refund.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from hitmesh.model.arrays import BoolArray
from hitmesh.model.hit_types import HitType
from hitmesh.model.zones import DAY_MS
from processor.rules.orders import HitAt, OrderVerdicts
from processor.settle.built import (
    built_day,
    derived_carry,
    finished_part,
    hits_before,
    visits_of_day,
    wanted_hits,
)
from processor.settle.inputs import DayInputs
from processor.settle.range_sums import RangeSums, carried_by
from processor.settle.settlement import MAX_COLLISIONS, Settled, settle_at_once
from processor.settle.site_window import SpilledWindow, Window
from processor.settle.time_pieces import cut_in_pieces, derived_in_pieces, steps
from processor.settle.verdicts import decided_orders, disturbed_days, lies_in_day, places
from processor.settle.visitor_ranges import RangeCopies, VisitorRange, copies_in, visitor_ranges
from processor.settle.window import WINDOW_COLUMNS, chosen

_PLACE: Final = ("record", "row")


def settle(inputs: DayInputs) -> Settled:
    """Compute the day's settlement, either as a whole or in ranges."""
    window = inputs.window
    return settle_at_once(inputs, window) if isinstance(window, Window) else settle_in_ranges(inputs, window)


def settle_in_ranges(inputs: DayInputs, window: SpilledWindow) -> Settled:
    """Compute the day's settlement from hits on disk."""
    ranges = list(visitor_ranges(window, inputs.memory))
    found = _Copies(inputs)
    for visitors in ranges:
        inputs.memory.rest()
        found.add(copies_in(visitors))
    orders = decided_orders(inputs, window.claiming, found.of_claims(window.claiming))
    sums = RangeSums(inputs)
    for number, visitors in enumerate(ranges):
        inputs.memory.rest()
        is_copy = found.of_range(number, visitors.hits)
        settle_range = _settle_range if visitors.hits <= inputs.memory.range_hits else _settle_visitor
        settle_range(inputs, visitors, is_copy, orders, sums)
    return Settled(
        rows=sums.rows(),
        ledger=sums.ledger,
        carry=sums.carry(),
        followed=sums.followed,
        orders=orders,
        disturbed_days=found.disturbed_days,
        full_refunds=sums.full_refunds,
        collisions=found.collisions(),
        complete=sums.complete,
        not_applicable=window.not_applicable,
    )


class _Copies:
    """The copies (duplicates) among all visitor ranges' hits."""

    def __init__(self, inputs: DayInputs) -> None:
        self.disturbed_days: frozenset[int] = frozenset()
        self._inputs = inputs
        self._is_copy: list[npt.NDArray[np.uint8]] = []
        self._collisions = pl.DataFrame(schema={name: WINDOW_COLUMNS[name] for name in _PLACE})
        self._claims = [self._collisions]

    def add(self, found: RangeCopies) -> None:
        suspects, copies = found.suspects, found.copies
        of_day = lies_in_day(self._inputs, suspects["event_time"].to_numpy())
        claims = suspects["hit_type"].is_in((int(HitType.ORDER), int(HitType.REFUND))).to_numpy()
        collisions = chosen(suspects, of_day & copies.collides).select(_PLACE)
        self.disturbed_days |= disturbed_days(self._inputs, suspects, copies)
        self._is_copy.append(np.packbits(found.is_copy))
        self._claims.append(chosen(suspects, claims & copies.is_copy).select(_PLACE))
        self._collisions = pl.concat([self._collisions, collisions]).sort(_PLACE).head(MAX_COLLISIONS)

    def of_range(self, number: int, hits: int) -> BoolArray:
        return np.unpackbits(self._is_copy[number], count=hits).astype(np.bool_)

    def of_claims(self, claiming: pl.DataFrame) -> BoolArray:
        copied = pl.concat(self._claims).with_columns(pl.lit(value=True).alias("is_copy"))
        marked = claiming.select(_PLACE).join(copied, on=_PLACE, how="left", maintain_order="left")
        return marked["is_copy"].fill_null(value=False).to_numpy()

    def collisions(self) -> tuple[HitAt, ...]:
        return tuple(places(self._collisions, self._inputs.window.positions))


def _settle_range(
    inputs: DayInputs, visitors: VisitorRange, is_copy: BoolArray, orders: OrderVerdicts, sums: RangeSums
) -> None:
    """Settle a visitor range as a whole."""
    hits = pl.concat(visitors.read()).rechunk()
    times, ids = hits["event_time"].to_numpy(), hits["visitor_lo"].to_numpy()
    sums.accept(hits, is_copy)
    if inputs.carry is None:
        carried = derived_carry(inputs, chosen(hits, hits_before(inputs, times) & ~is_copy))
    else:
        carried = carried_by(inputs.carry, ids)
    wanted = chosen(hits, wanted_hits(inputs, times, ids) & ~is_copy)
    sums.add(built_day(inputs, wanted, carried, visits_of_day(inputs)(wanted, carried), orders))


def _settle_visitor(
    inputs: DayInputs, visitor: VisitorRange, is_copy: BoolArray, orders: OrderVerdicts, sums: RangeSums
) -> None:
    """Settle a single visitor in pieces of time."""
    begin = 0
    for hits in visitor.read():
        sums.accept(hits, is_copy[begin : begin + hits.height])
        begin += hits.height
    times, ids = visitor.column("event_time").to_numpy(), visitor.column("visitor_lo").to_numpy()
    wanted, before = wanted_hits(inputs, times, ids) & ~is_copy, hits_before(inputs, times) & ~is_copy
    ids = ids[:1].copy()
    del times
    if inputs.carry is None:
        pieces = cut_in_pieces(visitor, before, inputs.memory)
        carried = derived_in_pieces(inputs, pieces, inputs.owner.day * DAY_MS)
        pieces.close()
    else:
        carried = carried_by(inputs.carry, ids)
    pieces = cut_in_pieces(visitor, wanted, inputs.memory)
    for step in steps(pieces, carried, visits_of_day(inputs)):
        inputs.memory.rest()
        sums.add(finished_part(built_day(inputs, step.hits, step.carried, step.visits, orders), step.finished))
    pieces.close()
