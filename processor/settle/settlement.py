"""Recompute a site-day from raw hits (settlement, rules D1 to D5 and L4).

A settlement is the complete result for a day: rows, ledger entry, the next day's carry, duplicate flags of claims, id
collisions, and the other days that must be settled again. It is a pure, idempotent function of raw hits, the previous
day's carry, claims and refusals.

An orphan has no visit. It counts in traffic rows under its own dimensions, as if the orphan were a visit. A payment
webhook therefore keeps its channel, and the rows of a breakdown add up to the total. A copy has no visit dimensions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from hitmesh.model.arrays import BoolArray, I64Array
from hitmesh.model.claims import ClaimKind
from hitmesh.model.generations import LedgerEntry
from hitmesh.model.hit_types import HitType
from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.rows.rollup_rows import VISIT_DIMENSIONS
from hitmesh.model.sites import VisitPolicy
from hitmesh.model.zones import DAY_MS
from processor.rules.carry import Carry, digest, open_rows, visit_dimensions
from processor.rules.copies import Copies, find_copies
from processor.rules.day_rules import excluded_by_rule
from processor.rules.orders import HitAt, OrderVerdicts, decide_orders
from processor.rules.refunds import claims_refund, settled_refunds
from processor.rules.rollups import RowOwner, traffic_rows, visits_rows
from processor.rules.visits import VIEW_TYPES, Visits, open_at
from processor.settle.built import derived_carry, hits_before, visits_of_day, wanted_hits
from processor.settle.inputs import DayInputs
from processor.settle.verdicts import erased_in_day, ledger_of, lies_in_day
from processor.settle.window import chosen


@dataclass(frozen=True, slots=True)
class Settled:
    """The result of a settlement.

    Attributes:
        traffic: rows with hit measures (TRAFFIC_COLUMNS).
        visits: rows with visit measures (VISITS_COLUMNS).
        ledger: the ledger entry for the day's accepted hits.
        carry: the carry for the next day.
        followed: digest of the day's hits in carried-in visits. If the previous day's carry has another digest, the
            previous day's settlement saw other hits and must be repeated.
        orders: winners, changed duplicate flags and disturbed days.
        disturbed_days: neighbouring days with a copy whose original lies in this day and was logged after
            `read_through`.
        full_refunds: the sum of the amounts that the day's refunds got from their orders, micros.
        collisions: the day's hits that are copies with other content (ID_COLLISION).
        not_applicable: how many of the day's hits lack the network that the day's exclusion rules look at.
        complete: False when a visit may continue past `known_until`; the day must then be settled again with more hits.
    """

    traffic: pl.DataFrame
    visits: pl.DataFrame
    ledger: LedgerEntry
    carry: Carry
    followed: int
    orders: OrderVerdicts
    disturbed_days: frozenset[int]
    full_refunds: int
    collisions: tuple[HitAt, ...]
    complete: bool
    not_applicable: int = 0


@dataclass(frozen=True, slots=True)
class _Built:
    """The day's hits, later hits that may continue the day's visits, and the visits built from both.

    Attributes:
        hits: window columns, no copies (n,).
        carried: the visits open at the day's start.
        visits: the visits built from the hits.
        dimensions: each visit's CARRIED_DIMENSIONS.
        in_day: (n,) whether the hit lies in the day itself.
        wins_order: (n,) whether the hit is the ORDER that counts.
        completed: (n,) the amount that a refund got from its order, micros; 0 for other hits.
        end: the day's end.
    """

    hits: pl.DataFrame
    carried: pl.DataFrame
    visits: Visits
    dimensions: pl.DataFrame
    in_day: BoolArray
    wins_order: BoolArray
    completed: I64Array
    end: int


def settle(inputs: DayInputs) -> Settled:
    """Compute the day's settlement."""
    owner, positions = inputs.owner, inputs.window.positions
    hits = inputs.window.rows
    times = hits["event_time"].to_numpy()
    of_day = lies_in_day(inputs, times)
    copies = find_copies(hits)
    orders = _orders(inputs, times, copies)
    built = _build(inputs, times, copies, orders)
    counted = _with_visit_dimensions(built)
    return Settled(
        traffic=traffic_rows(owner, counted, hits.filter(of_day & copies.is_copy), inputs.rejected, inputs.lg_k),
        visits=_visits_rows(owner, built),
        ledger=ledger_of(
            hits["hit_hash"].to_numpy()[of_day],
            counted.height,
            int(counted["excluded"].sum()),
            erased_in_day(inputs)["hit_hash"].to_numpy(),
        ),
        carry=_carry(built, inputs.policy),
        followed=_digest(built, built.in_day, built.visits.visits.first < 0),
        orders=orders,
        disturbed_days=_disturbed_days(inputs, times, copies),
        full_refunds=sum(built.completed[built.in_day].tolist()),  # summed as Python integers: an int64 would wrap
        collisions=tuple(_places(hits.filter(of_day & copies.collides), positions)),
        complete=_is_complete(built, inputs),
        not_applicable=inputs.window.not_applicable,
    )


def _orders(inputs: DayInputs, times: I64Array, copies: Copies) -> OrderVerdicts:
    """Decide the orders and refunds in the window; duplicate flags are known from the day's start to `known_until`."""
    known = (times >= inputs.owner.day * DAY_MS) & (times < inputs.known_until)
    claiming = (pl.col("hit_type") == HitType.ORDER) | claims_refund()
    rows = inputs.window.rows.with_columns(pl.Series("is_copy", copies.is_copy)).filter(pl.Series(known), claiming)
    duplicates = dict(zip(_places(rows, inputs.window.positions), rows["is_copy"].to_list(), strict=True))
    return decide_orders(
        inputs.claims,
        inputs.owner.day,
        duplicates,
        inputs.read_through,
        inputs.refund_days,
        inputs.excluded_before,
    )


def _build(inputs: DayInputs, times: I64Array, copies: Copies, orders: OrderVerdicts) -> _Built:
    """Build the visits from the day's hits and from later hits that may continue the day's last visits."""
    end, rows = (inputs.owner.day + 1) * DAY_MS, inputs.window.rows
    wanted = wanted_hits(inputs, times, rows["visitor_lo"].to_numpy())
    refunded = settled_refunds(chosen(rows, wanted & ~copies.is_copy), inputs.window.positions, orders)
    hits = refunded.hits
    before = hits_before(inputs, times) & ~copies.is_copy
    carried = inputs.carry.open_visits if inputs.carry else derived_carry(inputs, rows.filter(before))
    visits = visits_of_day(inputs)(hits, carried)
    return _Built(
        hits=hits,
        carried=carried,
        visits=visits,
        dimensions=visit_dimensions(visits.visits, hits, carried),
        in_day=hits["event_time"].to_numpy() < end,
        wins_order=_wins_order(hits, inputs.window.positions, orders),
        completed=refunded.completed,
        end=end,
    )


def _wins_order(hits: pl.DataFrame, positions: Sequence[Position], orders: OrderVerdicts) -> BoolArray:
    """Return whether each hit is the ORDER whose claim won."""
    wins = np.zeros(hits.height, np.bool_)
    rows = np.flatnonzero(hits["hit_type"].to_numpy() == HitType.ORDER)
    wins[rows] = [
        orders.wins(ClaimKind.ORDER, order_id or "", (positions[record], row), excluded=excluded)
        for record, row, order_id, excluded in hits.select("record", "row", "order_id", "excluded")[rows].iter_rows()
    ]
    return wins


def _with_visit_dimensions(built: _Built) -> pl.DataFrame:
    """Return the day's hits with `wins_order` and their visits' dimensions; an orphan keeps its own dimensions."""
    hits = chosen(built.hits, built.in_day)
    visit_of = built.visits.visit_of[built.in_day]
    of_visits = built.dimensions.select(VISIT_DIMENSIONS)
    orphans = np.flatnonzero(visit_of < 0)
    is_view = pl.col("hit_type").is_in(VIEW_TYPES)
    of_orphans = hits[orphans].with_columns(pl.when(is_view).then(pl.col("page_path")).alias("landing_page"))
    owner = visit_of.copy()
    owner[orphans] = of_visits.height + np.arange(len(orphans))
    dimensions = pl.concat([of_visits, of_orphans.select(VISIT_DIMENSIONS)]).rechunk()[owner]
    return hits.with_columns(*dimensions, pl.Series("wins_order", built.wins_order[built.in_day]))


def _visits_rows(owner: RowOwner, built: _Built) -> pl.DataFrame:
    """Return the rows for visits that start on the day, followed to their end."""
    everything = built.visits.visits
    is_own = _starts_in_day(built)
    with_order = np.zeros(len(everything), np.bool_)
    visit_of_winner = built.visits.visit_of[built.wins_order]
    with_order[visit_of_winner[visit_of_winner >= 0]] = True
    dimensions = built.dimensions.filter(is_own)
    return visits_rows(owner, everything.only(is_own), built.hits, dimensions, with_order[is_own])


def _starts_in_day(built: _Built) -> BoolArray:
    visits = built.visits.visits
    return (visits.first >= 0) & (visits.start < built.end)


def _carry(built: _Built, policy: VisitPolicy) -> Carry:
    """Return the visits open at the day's end, and the digest of the hits that followed in these visits."""
    open_visits = open_rows(open_at(built.visits, built.end, policy), built.hits, built.carried)
    return Carry(open_visits, _digest(built, ~built.in_day, built.visits.visits.start < built.end))


def _digest(built: _Built, of_hits: BoolArray, of_visits: BoolArray) -> int:
    """Return the digest of these hits, restricted to hits in these visits."""
    visit_of = built.visits.visit_of
    chosen = of_hits & (visit_of >= 0)
    chosen[chosen] = of_visits[visit_of[chosen]]
    hits = built.hits.filter(chosen)
    return digest(hits, built.wins_order[chosen], excluded_by_rule(hits["flags"].to_numpy()))


def _is_complete(built: _Built, inputs: DayInputs) -> bool:
    """Return whether no visit that starts on the day can continue past `known_until`."""
    visits = built.visits.visits
    may_go_on = (visits.last + inputs.policy.gap_ms >= inputs.known_until) & (
        visits.start + inputs.policy.cap_ms > inputs.known_until
    )
    return not (_starts_in_day(built) & may_go_on).any()


def _disturbed_days(inputs: DayInputs, times: I64Array, copies: Copies) -> frozenset[int]:
    """Return the neighbouring days with a copy whose original lies in this day and is new to this generation.

    A visitor's hits are nearly always in one partition and are read in log order, so a new hit is not the original of
    an older hit. The exception: after a change of the site's spread or of the log, a visitor's hits are in two
    partitions (architecture A4).
    """
    day = inputs.owner.day
    days = times // DAY_MS
    neighbours = np.flatnonzero(copies.is_copy & (days != day) & (days[copies.original] == day))
    originals = inputs.window.rows["record"].to_numpy()[copies.original[neighbours]]
    disturbed = set()
    for neighbour, record in zip(days[neighbours].tolist(), originals.tolist(), strict=True):
        log, partition, offset = inputs.window.positions[record]
        if offset >= inputs.read_through.get(PartitionId(log, partition), 0):
            disturbed.add(neighbour)
    return frozenset(disturbed)


def _places(hits: pl.DataFrame, positions: Sequence[Position]) -> Iterable[HitAt]:
    """Yield the position of each hit's record, and the hit's row in that record."""
    for record, row in zip(hits["record"].to_list(), hits["row"].to_list(), strict=True):
        yield positions[record], row
