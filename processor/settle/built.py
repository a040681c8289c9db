"""Builds the visits of a day's hits, and all other values that a settlement adds up (rules L4 and S6).

The functions work on all the day's hits, or on a visitor range's hits. If a single visitor's hits do not fit into
memory, the functions work on the finished visits of a piece of time (module `time_pieces`). The results for all ranges
and pieces add up to the result for all hits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from hitmesh.model.arrays import BoolArray, I64Array
from hitmesh.model.claims import ClaimKind
from hitmesh.model.hit_types import HitType
from hitmesh.model.limits import DERIVED_FROM_MS
from hitmesh.model.rows.rollup_rows import VISIT_DIMENSIONS
from hitmesh.model.zones import DAY_MS
from processor.rules.carry import digest, no_open_visits, open_rows, visit_dimensions
from processor.rules.day_rules import excluded_by_rule
from processor.rules.orders import OrderVerdicts
from processor.rules.refunds import settled_refunds
from processor.rules.rollups import DIMS, numbered_dimensions, visit_contributions
from processor.rules.seam import build_after
from processor.rules.visits import ORPHAN, VIEW_TYPES, Summaries, Visits, build_visits, open_at
from processor.settle.inputs import DayInputs
from processor.settle.record_positions import RecordPositions
from processor.settle.window import chosen


@dataclass(frozen=True, slots=True)
class Built:
    """The day's hits, later hits that may continue the day's visits, and the visits that are built from both.

    Attributes:
        hits: the hits without copies, with the window columns (n,).
        visit_of: (n,) each hit's visit; ORPHAN if the hit is in no visit.
        visits: the visits built from the hits.
        dimensions: each visit's CARRIED_DIMENSIONS.
        open_visits: the visits that are open at the day's end, with CARRY_COLUMNS.
        open_firsts: each open visit's value for `first` in `visits`.
        in_day: (n,) True for hits that lie in the day itself.
        wins_order: (n,) True for a hit that is the ORDER that counts.
        completed: (n,) the amount in micros that a refund took from its order; 0 for other hits.
        end: the day's end.
    """

    hits: pl.DataFrame
    visit_of: I64Array
    visits: Summaries
    dimensions: pl.DataFrame
    open_visits: pl.DataFrame
    open_firsts: I64Array
    in_day: BoolArray
    wins_order: BoolArray
    completed: I64Array
    end: int

    @property
    def starts_in_day(self) -> BoolArray:
        """Boolean array over visits: True for visits that start on the day."""
        found: BoolArray = (self.visits.first >= 0) & (self.visits.start < self.end)
        return found

    @property
    def followed(self) -> int:
        """A digest of the day's hits that belong to carried-in visits."""
        return self._digest(self.in_day, self.visits.first < 0)

    @property
    def follows(self) -> int:
        """A digest of the hits with which visits of this day continue on the next day."""
        return self._digest(~self.in_day, self.visits.start < self.end)

    def _digest(self, of_hits: BoolArray, of_visits: BoolArray) -> int:
        wanted = of_hits & (self.visit_of >= 0)
        wanted[wanted] = of_visits[self.visit_of[wanted]]
        hits = chosen(self.hits, wanted)
        return digest(hits, self.wins_order[wanted], excluded_by_rule(hits["flags"].to_numpy()))


def wanted_hits(inputs: DayInputs, times: I64Array, visitors: I64Array) -> BoolArray:
    """Return which hits are settled: the day's hits, and later hits that may continue the day's last visits.

    Args:
        inputs: the settlement's inputs.
        times: event times (n,).
        visitors: visitor_lo (n,).
    """
    begin, end = inputs.owner.day * DAY_MS, (inputs.owner.day + 1) * DAY_MS
    active_at_end = visitors[(times >= end - inputs.policy.gap_ms) & (times < end)]
    wanted: BoolArray = (times >= begin) & (times < end)
    following = (times >= end) & (times < inputs.known_until)
    wanted[following] = np.isin(visitors[following], active_at_end)
    return wanted


def hits_before(inputs: DayInputs, times: I64Array) -> BoolArray:
    """Return a boolean array: True for hits in the 24 h before the day.

    If the carry is missing, the open visits are derived from the hits in the 24 h before the day (rule L4).
    """
    begin = inputs.owner.day * DAY_MS
    found: BoolArray = (times >= begin - DERIVED_FROM_MS) & (times < begin)
    return found


def derived_carry(inputs: DayInputs, before: pl.DataFrame) -> pl.DataFrame:
    """Return the visits that are open at the day's start, derived from earlier hits without copies."""
    if before.is_empty():
        return no_open_visits()
    begin, policy = inputs.owner.day * DAY_MS, inputs.carried_policy or inputs.policy
    visits = build_visits(before, no_open_visits(), policy, inputs.zone)
    return open_rows(open_at(visits, begin, policy), before, no_open_visits())


def visits_of_day(inputs: DayInputs) -> Callable[[pl.DataFrame, pl.DataFrame], Visits]:
    """Return a function that builds visits from hits and carried-in visits under the day's policies."""

    def build(hits: pl.DataFrame, carried: pl.DataFrame) -> Visits:
        if inputs.carried_policy is not None:
            return build_after(hits, carried, inputs.carried_policy, inputs.policy, inputs.zone)
        return build_visits(hits, carried, inputs.policy, inputs.zone)

    return build


def built_day(
    inputs: DayInputs, hits: pl.DataFrame, carried: pl.DataFrame, visits: Visits, orders: OrderVerdicts
) -> Built:
    """Return the day's visits, and all other values that the settlement adds up.

    Args:
        inputs: the settlement's inputs.
        hits: the hits that `wanted_hits` selects, without copies, with the window columns.
        carried: the same visitors' visits that are open at the day's start.
        visits: the visits that `visits_of_day` built from `hits` and `carried`.
        orders: the verdicts on all the day's claims.
    """
    end = (inputs.owner.day + 1) * DAY_MS
    refunded = settled_refunds(hits, inputs.window.positions, orders)
    hits, still_open = refunded.hits, open_at(visits, end, inputs.policy)
    return Built(
        hits=hits,
        visit_of=visits.visit_of,
        visits=visits.visits,
        dimensions=visit_dimensions(visits.visits, hits, carried),
        open_visits=open_rows(still_open, hits, carried),
        open_firsts=still_open.first,
        in_day=hits["event_time"].to_numpy() < end,
        wins_order=_wins_order(hits, inputs.window.positions, orders),
        completed=refunded.completed,
        end=end,
    )


def finished_part(built: Built, finished: BoolArray) -> Built:
    """Return the built day without unfinished visits and their hits, but with all orphans.

    Args:
        built: the visits, some of which may still continue.
        finished: whether each visit is finished.
    """
    kept = built.visit_of == ORPHAN
    kept[~kept] = finished[built.visit_of[~kept]]
    rows, numbers = np.cumsum(kept) - 1, np.cumsum(finished) - 1
    visits = built.visits.only(finished)
    first, landing, exits = (_moved(places, rows) for places in (visits.first, visits.landing, visits.exit))
    visit_of = built.visit_of[kept]
    is_open = np.isin(built.open_firsts, built.visits.first[finished])
    return Built(
        hits=chosen(built.hits, kept),
        visit_of=np.where(visit_of == ORPHAN, ORPHAN, numbers[visit_of]) if len(numbers) else visit_of,
        visits=replace(visits, first=first, landing=landing, exit=exits),
        dimensions=chosen(built.dimensions, finished),
        open_visits=chosen(built.open_visits, is_open),
        open_firsts=_moved(built.open_firsts[is_open], rows),
        in_day=built.in_day[kept],
        wins_order=built.wins_order[kept],
        completed=built.completed[kept],
        end=built.end,
    )


def _moved(places: I64Array, rows: I64Array) -> I64Array:
    moved: I64Array = np.where(places >= 0, rows[np.maximum(places, 0)], places) if len(rows) else places
    return moved


@dataclass(frozen=True, slots=True)
class Counted:
    """The hits and visits that count on the day.

    Attributes:
        hits: the day's hits with `wins_order` and `dims`. `dims` is the number of the visit's dimensions in `texts`.
        visits: the contributions from the visits that start on the day, with `dims`. Each contribution has the visit's
            values at the visit's end.
        texts: VISIT_DIMENSIONS by number.
    """

    hits: pl.DataFrame
    visits: pl.DataFrame
    texts: pl.DataFrame


def counted(built: Built) -> Counted:
    """Return the hits and visits that count on the day. An orphan counts under the hit's own dimensions."""
    hits = chosen(built.hits, built.in_day)
    visit_of = built.visit_of[built.in_day]
    of_visits = built.dimensions[list(VISIT_DIMENSIONS)]
    orphans = np.flatnonzero(visit_of < 0)
    is_view = pl.col("hit_type").is_in(VIEW_TYPES)
    of_orphans = hits[orphans].with_columns(pl.when(is_view).then(pl.col("page_path")).alias("landing_page"))
    numbers, texts = numbered_dimensions(pl.concat([of_visits, of_orphans[list(VISIT_DIMENSIONS)]]))
    owner = visit_of.copy()
    owner[orphans] = of_visits.height + np.arange(len(orphans))
    added = pl.Series(DIMS, numbers[owner]), pl.Series("wins_order", built.wins_order[built.in_day])
    return Counted(hits.with_columns(*added), _own_visits(built, numbers[: of_visits.height]), texts)


def _own_visits(built: Built, numbers: I64Array) -> pl.DataFrame:
    is_own = built.starts_in_day
    with_order = np.zeros(len(is_own), np.bool_)
    visit_of_winner = built.visit_of[built.wins_order]
    with_order[visit_of_winner[visit_of_winner >= 0]] = True
    dimensions = built.dimensions.select("hostname", pl.Series(DIMS, numbers))
    return visit_contributions(built.visits.only(is_own), built.hits, chosen(dimensions, is_own), with_order[is_own])


def full_refunds(built: Built) -> int:
    """Return the sum (micros) that the day's refunds took from their orders."""
    return sum(built.completed[built.in_day].tolist())  # a Python integer sum cannot overflow, unlike an int64


def is_complete(built: Built, inputs: DayInputs) -> bool:
    """Return whether all visits that start on the day end before `known_until`."""
    visits = built.visits
    may_go_on = (visits.last + inputs.policy.gap_ms >= inputs.known_until) & (
        visits.start + inputs.policy.cap_ms > inputs.known_until
    )
    return not (built.starts_in_day & may_go_on).any()


def _wins_order(hits: pl.DataFrame, positions: RecordPositions, orders: OrderVerdicts) -> BoolArray:
    """Return a boolean array: True for each hit that is an ORDER whose claim won."""
    wins = np.zeros(hits.height, np.bool_)
    rows = np.flatnonzero(hits["hit_type"].to_numpy() == HitType.ORDER)
    wins[rows] = [
        orders.wins(ClaimKind.ORDER, order_id or "", (positions[record], row), excluded=excluded)
        for record, row, order_id, excluded in hits.select("record", "row", "order_id", "excluded")[rows].iter_rows()
    ]
    return wins
