"""Find out why the numbers of a recomputed site-day differ from the current generation's. Pure.

The current generation's hits are known: they are the hits of the new scan that lie below the offsets through which the
current generation was read. The visits of these hits are built again under the current generation's logic, and both
sides are compared hit by hit. The result counts only if the visits and the ledger that are built again equal the stored
numbers; otherwise a store lost numbers or raw hits, and hits and visits do not explain the difference.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from hitmesh.model.arrays import BoolArray, I64Array
from hitmesh.model.change_reasons import ChangeReasons
from hitmesh.model.generations import LedgerEntry
from hitmesh.model.limits import CELL_MS
from hitmesh.model.positions import PartitionId
from hitmesh.model.reprocessings import GenerationVersion
from hitmesh.model.zones import DAY_MS
from processor.rules.visits import ORPHAN
from processor.settle.attempt import Attempt, Worked
from processor.settle.settlement import DayInputs, DayVisits, day_visits, hits_of_day, ledger_of
from processor.settle.window import Window, chosen

_UNREAD: Final = 0
_COUNTED: Final = 1
_EXCLUDED: Final = 2
_DUPLICATE: Final = 3


@dataclass(frozen=True, slots=True)
class Side:
    """How a side treats the hits of a window with n rows.

    Attributes:
        outcome: (n,) _UNREAD, _COUNTED, _EXCLUDED or _DUPLICATE.
        visit: (n,) the index of each hit's visit; ORPHAN for a hit in no visit.
        start: (m,) the start of each visit.
        is_carried: (m,) whether each visit began before the UTC day.
        begun: the number of visits that begin on the UTC day and that reports count.
    """

    outcome: npt.NDArray[np.uint8]
    visit: I64Array
    start: I64Array
    is_carried: BoolArray
    begun: int


def reasons_of(
    attempt: Attempt, worked: Worked, current: GenerationVersion, visits: int | None, max_hits: int
) -> ChangeReasons | None:
    """Return why the attempt's numbers differ from the current generation's; None if the reasons are not known.

    Args:
        attempt: the attempt that settled the site-day.
        worked: its settlement.
        current: the current generation.
        visits: the current generation's visits; None if its series is no longer stored.
        max_hits: the maximum number of hits in the window, because the comparison builds their visits again.
    """
    if worked.inputs.window.rows.height > max_hits:
        return None
    inputs = attempt.inputs_before(worked.inputs)
    if inputs is None:
        return None
    read = _read_by(current, worked.inputs.window)
    if read.all() and _settle_alike(inputs, worked.inputs):
        return None
    built = _built_before(inputs, read, worked)
    old = side_of(inputs, read, built)
    if visits not in (None, old.begun) or _ledger_before(inputs, read, built) != current.ledger:
        return None
    return compared(worked, old, side_of(worked.inputs, np.ones(len(read), np.bool_), worked.visits))


def side_of(inputs: DayInputs, read: BoolArray, built: DayVisits) -> Side:
    """Return how a side treats each hit.

    Args:
        inputs: the inputs, with the whole window.
        read: (n,) the hits that the side has read.
        built: the visits of the hits that the side has read.
    """
    day, visits, excluded = inputs.owner.day, built.visits.visits, inputs.window.rows["excluded"].to_numpy()
    rows = np.flatnonzero(read)
    outcome = np.full(len(read), _UNREAD, np.uint8)
    outcome[rows] = np.where(built.copies.is_copy, _DUPLICATE, np.where(excluded[rows], _EXCLUDED, _COUNTED))
    visit = np.full(len(read), ORPHAN, np.int64)
    visit[rows[built.rows]] = built.visits.visit_of
    is_carried = visits.first < 0
    begun = np.flatnonzero(~is_carried & (visits.start < (day + 1) * DAY_MS))
    is_excluded = excluded[rows[built.rows]][visits.first[begun]]
    return Side(outcome, visit, visits.start, is_carried, len(begun) - int(is_excluded.sum()))


def compared(worked: Worked, old: Side, new: Side) -> ChangeReasons:
    """Compare two sides; the new side has read every hit of the window (ChangeReasons defines the terms)."""
    end = (worked.inputs.owner.day + 1) * DAY_MS
    rows = _places(worked, old, new)
    begins_old, begins_new = _begins(old, rows), _begins(new, rows)
    start_old, start_new = old.start[old.visit[rows]], new.start[new.visit[rows]]
    of_day_old, of_day_new = begins_old & (start_old < end), begins_new & (start_new < end)
    came, went = of_day_new & begins_old & ~of_day_old, of_day_old & begins_new & ~of_day_new
    stays_elsewhere = of_day_old & of_day_new & (start_old // CELL_MS != start_new // CELL_MS)
    return replace(
        _changed_hits(worked.inputs, old, new),
        merged_visits=int((of_day_old & ~begins_new).sum()),
        split_visits=int((of_day_new & ~begins_old).sum()),
        moved_visits=int((came | went | stays_elsewhere).sum()),
        added_visits=new.begun - int(of_day_new.sum()) + int(came.sum()),
        removed_visits=old.begun - int(of_day_old.sum()) + int(went.sum()),
    )


def _places(worked: Worked, old: Side, new: Side) -> I64Array:
    """Return the window's rows that are in a visit on both sides; each visitor's hits come in the order of rule S0."""
    is_place = (old.outcome == _COUNTED) & (new.outcome == _COUNTED) & (old.visit != ORPHAN) & (new.visit != ORPHAN)
    line = worked.visits.visits.line.row
    of_line = worked.visits.rows[line[line >= 0]]
    rows = of_line[is_place[of_line]]
    is_place[rows] = False
    early = np.flatnonzero(is_place)  # after a day under another logic, the line lacks hits of carried-in visits
    if len(early):
        hits = worked.inputs.window.rows.select("event_time", "hit_hash")[early]
        early = early[np.lexsort((hits["hit_hash"].to_numpy(), hits["event_time"].to_numpy()))]
        rows = np.concatenate([early, rows])
    return rows


def _begins(side: Side, rows: I64Array) -> BoolArray:
    """Return which places are the first place of a visit that did not begin before the UTC day."""
    first = np.full(len(side.start), -1, np.int64)
    first[side.visit[rows][::-1]] = np.arange(len(rows))[::-1]  # a visit's first place is written last
    begins = np.zeros(len(rows), np.bool_)
    begins[first[(first >= 0) & ~side.is_carried]] = True
    return begins


def _changed_hits(inputs: DayInputs, old: Side, new: Side) -> ChangeReasons:
    of_day = hits_of_day(inputs.window.rows, inputs.owner.day)
    before, after = old.outcome[of_day], new.outcome[of_day]
    is_read = before != _UNREAD
    return ChangeReasons(
        newly_excluded_hits=int(((before == _COUNTED) & (after == _EXCLUDED)).sum()),
        no_longer_excluded_hits=int(((before == _EXCLUDED) & (after == _COUNTED)).sum()),
        newly_duplicate_hits=int((is_read & (before != _DUPLICATE) & (after == _DUPLICATE)).sum()),
        no_longer_duplicate_hits=int(((before == _DUPLICATE) & (after != _DUPLICATE)).sum()),
        joined_hits=int((~is_read).sum()),
    )


def _read_by(current: GenerationVersion, window: Window) -> BoolArray:
    """Return (n,) which hits of the window the current generation has read."""
    through = current.read_through
    of_record = [offset < through.get(PartitionId(log, partition), 0) for log, partition, offset in window.positions]
    read: BoolArray = np.array(of_record, np.bool_)[window.rows["record"].to_numpy()]
    return read


def _settle_alike(inputs: DayInputs, others: DayInputs) -> bool:
    """Return whether both inputs give the same visits for the same hits."""
    if (inputs.policy, inputs.carried_policy) != (others.policy, others.carried_policy):
        return False
    if inputs.carry is None or others.carry is None:
        return inputs.carry is others.carry
    return inputs.carry.hands_on_the_same(others.carry)


def _built_before(inputs: DayInputs, read: BoolArray, worked: Worked) -> DayVisits:
    """Build the visits of the hits that were read before; follow the visitors whom the new side follows too."""
    hits, end = worked.visits.hits, (inputs.owner.day + 1) * DAY_MS
    followed = hits["visitor_lo"].to_numpy()[hits["event_time"].to_numpy() >= end]
    if read.all():
        return day_visits(inputs, worked.visits.copies, followed)
    window = replace(inputs.window, rows=chosen(inputs.window.rows, read))
    return day_visits(replace(inputs, window=window), None, followed)


def _ledger_before(inputs: DayInputs, read: BoolArray, built: DayVisits) -> LedgerEntry:
    rows, day = inputs.window.rows, inputs.owner.day
    hashes = rows["hit_hash"].to_numpy()[read & hits_of_day(rows, day)]
    return ledger_of(hashes, built.hits.filter(hits_of_day(built.hits, day)))
