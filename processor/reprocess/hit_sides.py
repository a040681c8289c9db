"""Compares how two generations of a site-day treat the same hits: their outcomes and their visits.

The functions are pure, and do not loop over hits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from hitmesh.model.arrays import BoolArray, I64Array, U64Array
from hitmesh.model.change_reasons import ChangeReasons
from hitmesh.model.limits import CELL_MS
from hitmesh.model.zones import DAY_MS
from processor.rules.copies import find_copies
from processor.rules.visits import ORPHAN
from processor.settle.built import derived_carry, hits_before, visits_of_day, wanted_hits
from processor.settle.inputs import DayInputs
from processor.settle.window import chosen

UNREAD: Final = 0
COUNTED: Final = 1
EXCLUDED: Final = 2
DUPLICATE: Final = 3


@dataclass(frozen=True, slots=True)
class Side:
    """How a side treats n hits. The two sides are the two compared generations of a site-day.

    Attributes:
        outcome: (n,) UNREAD, COUNTED, EXCLUDED or DUPLICATE.
        visit: (n,) the index of each hit's visit; ORPHAN if the hit is in no visit.
        order: the indexes of the hits, in their timelines' order. Carried-in visits' hits may be missing.
        start: (m,) each visit's start.
        is_carried: (m,) whether each visit began before the UTC day.
        begun: how many visits begin on the UTC day and count in reports.
        followed: the visitors (visitor_lo) whose hits after the day's end may continue visits of the day.
        end: the day's end.
    """

    outcome: npt.NDArray[np.uint8]
    visit: I64Array
    order: I64Array
    start: I64Array
    is_carried: BoolArray
    begun: int
    followed: U64Array
    end: int


def side_of(
    inputs: DayInputs,
    hits: pl.DataFrame,
    read: BoolArray,
    is_copy: BoolArray | None = None,
    followed: U64Array | None = None,
) -> Side:
    """Return how a generation, called a side, treats the hits.

    Args:
        inputs: the side's inputs. Only the logic and the carry are used.
        hits: the hits in log order, with the window's columns (n,).
        read: (n,) whether the side has read each hit.
        is_copy: whether each hit that the side has read is a copy; None if this is not known yet.
        followed: further visitors whose hits after the day's end become parts of visits.
    """
    rows, read_hits = np.flatnonzero(read), chosen(hits, read)
    is_copy = find_copies(read_hits).is_copy if is_copy is None else is_copy
    times, visitors = read_hits["event_time"].to_numpy(), read_hits["visitor_lo"].to_numpy()
    wanted, end = wanted_hits(inputs, times, visitors), (inputs.owner.day + 1) * DAY_MS
    if followed is not None:
        wanted |= (times >= end) & (times < inputs.known_until) & np.isin(visitors, followed)
    wanted &= ~is_copy
    before = hits_before(inputs, times) & ~is_copy
    carried = inputs.carry.open_visits if inputs.carry else derived_carry(inputs, read_hits.filter(before))
    built, rows_of_built = visits_of_day(inputs)(chosen(read_hits, wanted), carried), rows[wanted]
    excluded = read_hits["excluded"].to_numpy()
    outcome = np.full(hits.height, UNREAD, np.uint8)
    outcome[rows] = np.where(is_copy, DUPLICATE, np.where(excluded, EXCLUDED, COUNTED))
    visit = np.full(hits.height, ORPHAN, np.int64)
    visit[rows_of_built] = built.visit_of
    visits = built.visits
    of_day = (visits.first >= 0) & (visits.start < end)
    return Side(
        outcome=outcome,
        visit=visit,
        order=rows_of_built[built.line.row[built.line.row >= 0]],
        start=visits.start,
        is_carried=visits.first < 0,
        begun=int((~excluded[wanted][visits.first[of_day]]).sum()),
        followed=visitors[wanted & (times >= end)],
        end=end,
    )


def change_reasons(hits: pl.DataFrame, of_day: BoolArray, end: int, old: Side, new: Side) -> ChangeReasons:
    """Return why two sides' numbers differ. ChangeReasons defines the terms.

    Args:
        hits: the hits (n,), with event_time and hit_hash.
        of_day: (n,) whether each hit is on the UTC day.
        end: the day's end.
        old: the old side.
        new: the new side, which has read every hit.
    """
    rows = _places(hits, old, new)
    begins_old, begins_new = _begins(old, rows), _begins(new, rows)
    start_old, start_new = old.start[old.visit[rows]], new.start[new.visit[rows]]
    of_day_old, of_day_new = begins_old & (start_old < end), begins_new & (start_new < end)
    came, went = of_day_new & begins_old & ~of_day_old, of_day_old & begins_new & ~of_day_new
    moves_on_day = of_day_old & of_day_new & (start_old // CELL_MS != start_new // CELL_MS)
    return replace(
        _changed_hits(old.outcome[of_day], new.outcome[of_day]),
        merged_visits=int((of_day_old & ~begins_new).sum()),
        split_visits=int((of_day_new & ~begins_old).sum()),
        moved_visits=int((came | went | moves_on_day).sum()),
        added_visits=new.begun - int(of_day_new.sum()) + int(came.sum()),
        removed_visits=old.begun - int(of_day_old.sum()) + int(went.sum()),
    )


def _places(hits: pl.DataFrame, old: Side, new: Side) -> I64Array:
    """Return the hits that are in a visit on both sides, with each visitor's hits sorted as in rule S0."""
    is_place = (old.outcome == COUNTED) & (new.outcome == COUNTED) & (old.visit != ORPHAN) & (new.visit != ORPHAN)
    rows: I64Array = new.order[is_place[new.order]]
    is_place[rows] = False
    early = np.flatnonzero(is_place)  # `order` may not contain carried-in visits' hits (see Side)
    if len(early):
        times, hashes = (hits[name].gather(early).to_numpy() for name in ("event_time", "hit_hash"))
        rows = np.concatenate([early[np.lexsort((hashes, times))], rows])
    return rows


def _begins(side: Side, rows: I64Array) -> BoolArray:
    """Return a boolean array: True for hits that begin a visit.

    A hit begins a visit if it is the visit's first hit in `rows` and the visit was not carried in.
    """
    first = np.full(len(side.start), -1, np.int64)
    first[side.visit[rows][::-1]] = np.arange(len(rows))[::-1]  # in reverse, so that each visit keeps its first hit
    begins = np.zeros(len(rows), np.bool_)
    begins[first[(first >= 0) & ~side.is_carried]] = True
    return begins


def _changed_hits(before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8]) -> ChangeReasons:
    is_read = before != UNREAD
    return ChangeReasons(
        newly_excluded_hits=int(((before == COUNTED) & (after == EXCLUDED)).sum()),
        no_longer_excluded_hits=int(((before == EXCLUDED) & (after == COUNTED)).sum()),
        newly_duplicate_hits=int((is_read & (before != DUPLICATE) & (after == DUPLICATE)).sum()),
        no_longer_duplicate_hits=int(((before == DUPLICATE) & (after != DUPLICATE)).sum()),
        joined_hits=int((~is_read).sum()),
    )
