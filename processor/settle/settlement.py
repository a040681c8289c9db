"""Recomputes a site-day from raw hits (rules D1 to D5 and L4).

A settlement is the complete result for a day. A settlement contains the day's rows, the ledger entry, duplicate flags
of claims, id collisions, and the other days that must be settled again. A settlement also contains the carry: the open
visits that the day passes to the next day. The result is a pure function of the raw hits, the carry from the day
before, the claims and the refusals.

A site-day whose hits fit into memory is settled as a whole. A larger site-day is settled in visitor ranges (`ranges`),
with the same result.

An orphan has no visit. In traffic rows, an orphan counts under its own dimensions, as a visit would. An orphan from a
payment webhook therefore keeps its channel, and the rows of a breakdown add up to the total. A copy has no visit
dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

from hitmesh.model.arrays import BoolArray, I64Array
from hitmesh.model.generations import LedgerEntry
from processor.rules.carry import Carry
from processor.rules.copies import find_copies
from processor.rules.orders import HitAt, OrderVerdicts
from processor.rules.rollups import traffic_rows, visits_rows
from processor.settle.built import (
    Built,
    built_day,
    counted,
    derived_carry,
    full_refunds,
    hits_before,
    is_complete,
    visits_of_day,
    wanted_hits,
)
from processor.settle.inputs import DayInputs
from processor.settle.rows import SettledRows
from processor.settle.site_window import Window
from processor.settle.verdicts import decided_orders, disturbed_days, erased_in_day, ledger_of, lies_in_day, places
from processor.settle.window import chosen

MAX_COLLISIONS: Final = 1_000  # without a limit, senders that reuse an id could fill the memory and the store


@dataclass(frozen=True, slots=True)
class Settled:
    """A settlement's complete result.

    Attributes:
        rows: the day's rows.
        ledger: the ledger entry for the day's accepted hits.
        carry: the carry for the next day.
        followed: a digest over the day's hits in carried-in visits. If `followed` differs from the digest in the carry
            from the day before, the two days' settlements have read different hits. The settlement of the day
            before must then be repeated.
        orders: the winning claims, the changed duplicate flags and the disturbed days.
        disturbed_days: the neighbouring days that must be settled again. Each of these days has a copy of a hit on the
            settled day, and the current generation has not read the original hit.
        full_refunds: the sum (micros) that the day's refunds took from their orders.
        collisions: the day's hits that are copies with different content (ID_COLLISION). Only the first
            `MAX_COLLISIONS` are listed.
        not_applicable: how many of the day's hits have no stored network; 0 if no exclusion rule of the day
            compares networks.
        complete: False if a visit may continue past `known_until`, so that the day must be settled again with more
            hits.
    """

    rows: SettledRows
    ledger: LedgerEntry
    carry: Carry
    followed: int
    orders: OrderVerdicts
    disturbed_days: frozenset[int]
    full_refunds: int
    collisions: tuple[HitAt, ...]
    complete: bool
    not_applicable: int = 0


def settle_at_once(inputs: DayInputs, window: Window) -> Settled:
    """Compute the day's settlement from hits that are in memory."""
    owner, hits = inputs.owner, window.rows
    times = hits["event_time"].to_numpy()
    of_day = lies_in_day(inputs, times)
    copies = find_copies(hits)
    orders = decided_orders(inputs, hits, copies.is_copy)
    built = _build(inputs, hits, times, copies.is_copy, orders)
    day = counted(built)
    collisions = chosen(hits, of_day & copies.collides)[:MAX_COLLISIONS]
    copied = hits.filter(of_day & copies.is_copy)
    traffic = traffic_rows(owner, day.hits, copied, inputs.rejected, inputs.lg_k, day.texts)
    return Settled(
        rows=SettledRows.in_memory(traffic, visits_rows(owner, day.visits, day.texts)),
        ledger=ledger_of(
            hits["hit_hash"].to_numpy()[of_day],
            day.hits.height,
            int(day.hits["excluded"].sum()),
            erased_in_day(inputs)["hit_hash"].to_numpy(),
        ),
        carry=Carry(built.open_visits, built.follows),
        followed=built.followed,
        orders=orders,
        disturbed_days=disturbed_days(inputs, hits, copies),
        full_refunds=full_refunds(built),
        collisions=tuple(places(collisions, window.positions)),
        complete=is_complete(built, inputs),
        not_applicable=window.not_applicable,
    )


def _build(inputs: DayInputs, hits: pl.DataFrame, times: I64Array, is_copy: BoolArray, orders: OrderVerdicts) -> Built:
    carried = inputs.carry.open_visits if inputs.carry else _derived(inputs, hits, times, is_copy)
    wanted = wanted_hits(inputs, times, hits["visitor_lo"].to_numpy())
    settled = chosen(hits, wanted & ~is_copy)
    return built_day(inputs, settled, carried, visits_of_day(inputs)(settled, carried), orders)


def _derived(inputs: DayInputs, hits: pl.DataFrame, times: I64Array, is_copy: BoolArray) -> pl.DataFrame:
    return derived_carry(inputs, chosen(hits, hits_before(inputs, times) & ~is_copy))
