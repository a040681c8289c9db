"""Applies the progress of log time (A5, rules S7, L1). Ends visits, and prunes state that no hit can change any more.

Decides which visits have ended and where the horizon is in each epoch. Decides which visit of a timeline was open at
the horizon. This module also decides which timelines, hits and ids are dropped. The decisions depend only on log times,
and not on how records are divided into steps.
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
    """For all visits that have ended since the last call, add the contributions that a visit makes when it ends."""
    for visits in (state.timelines.now, state.closing):
        pending = np.flatnonzero((visits.deadline < state.log_time) & (visits.deadline >= state.ended_through))
        ending = visits.take(pending[visits.hits[pending] > 0])
        if len(ending):
            contributions.of_visits.append(of_visits(ending, state.ended_through, sign=-1))
            contributions.of_visits.append(of_visits(ending, state.log_time, sign=1))
    state.closing = state.closing.take(~state.closing.ended(state.log_time))
    state.ended_through = state.log_time


def move_horizon(state: LiveState, epoch: int) -> None:
    """Set the horizon to the start of a new epoch minus the allowed lateness. Prune older state."""
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
    """Replace `state.timelines.bases` by the visits that are open at the new horizon.

    If a visit that is open at the new horizon has no view yet, its hits are kept in `state.pinned`.
    """
    timelines = state.timelines
    waiting = timelines.seen < new  # these timelines need no base, because `now` is their open visit
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
    """Return the kept hits that form visits, lie between the old and the new horizon, and belong to wanted slots."""
    time = pl.col("event_time")
    formed = forms_visits() & (time >= old) & (time < new)

    def are_wanted(keys: U64Array) -> BoolArray:
        slots = state.timelines.find(keys)
        found: BoolArray = slots >= 0
        found[found] = wanted[slots[found]]
        return found

    return state.kept.where(formed, are_wanted)


def _pin(state: LiveState, passed: pl.DataFrame, built: Built, new: int) -> None:
    """Keep in `state.pinned` the hits of visits that are open at the new horizon but have no view yet.

    The hits in `state.pinned` are called pinned. Newly pinned hits lie between the old and the new horizon. A pinned
    hit is dropped when the hit's visit has ended or has a view. `built.visit_of` decides which hits belong to a visit.
    Even a hit between a visit's first and last hit may be an orphan (rule S2).
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
    """Return a boolean array: True for timelines whose current visit is open at the horizon and has no view."""
    now, slots = state.timelines.now, state.timelines.find(keys)
    found: BoolArray = slots >= 0
    found_slots = slots[found]
    found[found] = (now.hits[found_slots] > 0) & (now.views[found_slots] == 0) & (now.deadline[found_slots] >= new)
    return found


def tidy(state: LiveState) -> None:
    """If most texts or tuples are unused, drop the texts and tuples that no visit uses.

    The remaining texts and tuples get new numbers. No caller may therefore keep an old number outside the state. A step
    calls this function last, when the step's rows contain names and no numbers.
    """
    timelines, interned, limits = state.timelines, state.interned, state.limits
    used = max(2 * len(timelines) + len(state.closing), state.tidied)
    if max(len(interned.tuples), len(interned.texts)) < max(limits.tidy_from, limits.tidy_ratio * used):
        return
    holders = [timelines.now, timelines.bases, state.closing]
    dims, exits = interned.keep_only(
        np.concatenate([columns.dims for columns in holders]), np.concatenate([columns.exit for columns in holders])
    )
    start = 0
    for columns in holders:
        columns.dims[:] = dims[start : start + len(columns)]
        columns.exit[:] = exits[start : start + len(columns)]
        start += len(columns)
    state.tidied = max(len(interned.tuples), len(interned.texts))
