"""Log time moves on: visits end, and the state forgets what nothing can change any more (decision A5, rules S7, L1).

Decides which visits have ended, how the horizon moves with each epoch, which visit of a timeline was open at it, and
which timelines, hits and ids are let go. Depends on log times only, never on how records were cut into steps.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from hitmesh.model.arrays import BoolArray, U64Array
from hitmesh.model.limits import COPY_LOG_MS, LATENESS_MS
from processor.stream.live.building import Built, build
from processor.stream.live.contributions import Contributions
from processor.stream.live.kept import forms_visits
from processor.stream.live.rows import of_visits
from processor.stream.live.state import LiveState
from processor.stream.live.visit_table import VisitColumns


def advance(state: LiveState, contributions: Contributions) -> None:
    """Add what visits add that have ended by the state's log time and had not before."""
    for visits in (state.timelines.now, state.closing):
        pending = np.flatnonzero((visits.deadline < state.log_time) & (visits.deadline >= state.ended_through))
        ending = visits.take(pending[visits.hits[pending] > 0])
        if len(ending):
            contributions.of_visits.append(of_visits(ending, state.ended_through, sign=-1))
            contributions.of_visits.append(of_visits(ending, state.log_time, sign=1))
    state.closing = state.closing.take(~state.closing.ended(state.log_time))
    state.ended_through = state.log_time


def move_horizon(state: LiveState, epoch: int) -> None:
    """Move the horizon to the allowed lateness before an epoch that begins, and forget what lies too far before it."""
    old, new = state.horizon, epoch - LATENESS_MS
    timelines = state.timelines
    gaps = state.sites.gaps(timelines.now.site) if len(timelines) else np.empty(0, np.int64)
    timelines.keep_only(timelines.seen + gaps >= new)
    _move_bases(state, old, new)
    state.horizon = new
    state.kept.forget_before(epoch - COPY_LOG_MS)
    state.ids.forget_before(epoch - COPY_LOG_MS)
    state.texts.forget_before(epoch - COPY_LOG_MS)


def _move_bases(state: LiveState, old: int, new: int) -> None:
    """Make the bases the visits that are open at the new horizon, and pin the hits of those without a view."""
    timelines = state.timelines
    waiting = timelines.seen < new  # all their hits lie before it: `now` stands for the base
    wanted = ~waiting | (timelines.now.views == 0)
    passed = _passed_hits(state, old, new, wanted)
    with_base = np.flatnonzero((timelines.base >= 0) & wanted)
    carried = timelines.bases.take(timelines.base[with_base].astype(np.int64))
    built = build(passed, carried, state.sites, state.interned)
    _pin(state, passed, built, new)
    latest = built.visits.take(built.is_last())
    slots = timelines.find(latest.key)
    bases = latest.take((latest.deadline >= new) & ~waiting[slots])
    timelines.base[:] = -1
    timelines.bases = VisitColumns.empty()
    timelines.set_bases(timelines.find(bases.key), bases)


def _passed_hits(state: LiveState, old: int, new: int, wanted: BoolArray) -> pl.DataFrame:
    """Return the kept hits in timelines that lie between two horizons, of the slots that are wanted."""
    time = pl.col("event_time")
    formed = forms_visits() & (time >= old) & (time < new)

    def are_wanted(keys: U64Array) -> BoolArray:
        slots = state.timelines.find(keys)
        found: BoolArray = slots >= 0
        found[found] = wanted[slots[found]]
        return found

    return state.kept.where(formed, are_wanted)


def _pin(state: LiveState, passed: pl.DataFrame, built: Built, new: int) -> None:
    """Keep the hits of open visits without a view: those that pass the horizon now, and those pinned before.

    What lies between the first and the last hit of a visit may be an orphan all the same (rule S2).
    """
    visits = built.visits
    stays = built.is_last() & (visits.views == 0) & (visits.deadline >= new)
    mine = np.flatnonzero(built.visit_of >= 0)
    mine = mine[stays[built.visit_of[mine]]]
    keys = state.pinned["key"].to_numpy()
    goes_on = np.isin(keys, visits.key[stays & (built.carried >= 0)])
    is_idle = ~np.isin(keys, visits.key) & _are_open_unseen(state, keys, new)
    state.pinned = pl.concat([state.pinned[np.flatnonzero(goes_on | is_idle)], passed[mine]]).rechunk()


def _are_open_unseen(state: LiveState, keys: U64Array, new: int) -> BoolArray:
    """Return whether the visit of each timeline as it is now is open at the horizon and without a view."""
    now, slots = state.timelines.now, state.timelines.find(keys)
    found: BoolArray = slots >= 0
    own = slots[found]
    found[found] = (now.hits[own] > 0) & (now.views[own] == 0) & (now.deadline[own] >= new)
    return found


def tidy(state: LiveState) -> None:
    """Forget texts and tuples that no visit has any more, once they are most of them.

    Those that stay get other numbers, so the state must be the only holder of numbers: a step calls this last, when
    all that it adds has been named.
    """
    timelines, interned, limits = state.timelines, state.interned, state.limits
    used = max(2 * len(timelines) + len(state.closing), state.tidied)
    if max(len(interned.tuples), len(interned.texts)) < max(limits.tidy_from, limits.tidy_ratio * used):
        return
    holders = [timelines.now, timelines.bases, state.closing]
    dims, exits = interned.keep_only(
        np.concatenate([one.dims for one in holders]), np.concatenate([one.exit for one in holders])
    )
    start = 0
    for one in holders:
        one.dims[:] = dims[start : start + len(one)]
        one.exit[:] = exits[start : start + len(one)]
        start += len(one)
    state.tidied = max(len(interned.tuples), len(interned.texts))
