"""Updates visits with new on-time hits. Each timeline takes a fast or a slow path (journey step 5, architecture A7).

A timeline takes the fast path if all its new hits are later than all hits that were processed before. On the fast path,
only the timeline's current visit is needed. On the slow path, the timeline's kept hits are read. The timeline's visits
are built twice: with and without the new hits. The horizon is the earliest event time that an on-time hit can have.
Building starts from the visit that was open at the horizon. The step emits the difference between the visits with and
without the new hits. This module decides which timelines take which path.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from hitmesh.model.arrays import BoolArray, I32Array, I64Array, U64Array
from hitmesh.model.keys import visitors_of
from processor.rules.visits import VIEW_TYPES
from processor.stream.live.building import Built, build, dimensions_of
from processor.stream.live.contributions import Contributions, moved_in_smaller_steps
from processor.stream.live.kept import KEPT_COLUMNS, Chosen, forms_visits
from processor.stream.live.rows import added, of_visits, taken_back
from processor.stream.live.state import LiveState
from processor.stream.live.visit_table import VisitColumns


def take_hits(state: LiveState, hits: pl.DataFrame, contributions: Contributions) -> tuple[int, int]:
    """Update visits with new hits. Return two numbers: the hits on the fast path, and the hits on the slow path.

    Args:
        state: the partition's state. The caller has already set the state's log time to the step's log time.
        hits: the new hits, with KEPT_COLUMNS. All hits are on time, and none is offline or a copy.
        contributions: receives the contributions of the hits and of their visits.
    """
    if hits.is_empty():
        return 0, 0
    touched = _touch(state, hits)
    _keep_bases(state, touched)
    is_slow = touched.slow[touched.timeline_of]
    state.timelines.seen[touched.slots] = np.maximum(state.timelines.seen[touched.slots], touched.latest)
    if touched.slow.all():
        _slow(state, hits, touched, contributions)
    elif not touched.slow.any():
        _fast(state, hits, touched.slots, contributions)
    else:
        fast_rows, slow_rows = np.flatnonzero(~is_slow), np.flatnonzero(is_slow)
        _fast(state, hits[fast_rows], touched.slots[~touched.slow], contributions)
        _slow(state, hits[slow_rows], touched, contributions)
    slow = int(is_slow.sum())
    return hits.height - slow, slow


@dataclass(frozen=True, slots=True)
class _Touched:
    """The timelines that have new hits (k,), sorted by key.

    Attributes:
        keys: the timelines' keys, in ascending order.
        slots: the timelines' slots; new timelines already have slots.
        latest: the event time of each timeline's latest new hit.
        slow: whether each timeline takes the slow path.
        lands_only: whether each timeline takes the slow path only because the first view of its visit arrives.
        is_first_after_horizon: whether each timeline gets its first hit at or after the horizon in this step.
        timeline_of: (n,) index of each hit's timeline in `keys`.
    """

    keys: U64Array
    slots: I64Array
    latest: I64Array
    slow: BoolArray
    lands_only: BoolArray
    is_first_after_horizon: BoolArray
    timeline_of: I64Array


def _touch(state: LiveState, hits: pl.DataFrame) -> _Touched:
    keys, first, timeline_of = np.unique(hits["key"].to_numpy(), return_index=True, return_inverse=True)
    times = hits["event_time"].to_numpy()
    earliest = np.full(len(keys), np.iinfo(np.int64).max)
    latest = np.full(len(keys), np.iinfo(np.int64).min)
    np.minimum.at(earliest, timeline_of, times)
    np.maximum.at(latest, timeline_of, times)
    slots = state.timelines.find(keys)
    new = np.flatnonzero(slots < 0)
    if len(new):
        slots[new] = state.timelines.add(keys[new])
        state.timelines.now.site[slots[new]] = hits["site"].to_numpy()[first[new]]
    now, seen = state.timelines.now, state.timelines.seen[slots]
    views = np.zeros(len(keys), np.bool_)
    is_view = np.isin(hits["hit_type"].to_numpy(), VIEW_TYPES)
    views[timeline_of[is_view]] = True
    # The first view of a visit changes the landing page of all the visit's hits.
    lands_late = views & (now.hits[slots] > 0) & (now.views[slots] == 0)
    return _Touched(
        keys=keys,
        slots=slots,
        latest=latest,
        slow=(earliest <= seen) | lands_late,
        lands_only=lands_late & (earliest > seen),
        is_first_after_horizon=seen < state.horizon,
        timeline_of=timeline_of.astype(np.int64),
    )


def _keep_bases(state: LiveState, touched: _Touched) -> None:
    """For each timeline whose first hit after the horizon is in this step, save the open visit as the base."""
    now = state.timelines.now
    slots = touched.slots[touched.is_first_after_horizon]
    slots = slots[(now.hits[slots] > 0) & (now.deadline[slots] >= state.horizon)]
    if len(slots):
        state.timelines.set_bases(slots, now.take(slots))


def _fast(state: LiveState, hits: pl.DataFrame, slots: I64Array, contributions: Contributions) -> None:
    now = state.timelines.now
    open_slots = slots[now.hits[slots] > 0]
    before = now.take(open_slots)
    after = build(hits, before, state.sites, state.interned)
    contributions.of_hits += added(hits, dimensions_of(hits, after, state.interned))
    changed = np.ones(len(after.visits), np.bool_)
    was = after.carried >= 0
    changed[was] = after.visits.hits[was] != before.hits[after.carried[was]]
    if contributions.is_redo:
        contributions.rebuilt.append(moved_in_smaller_steps(hits, after))
    contributions.of_visits.append(of_visits(before.take(after.carried[was & changed]), state.log_time, sign=-1))
    contributions.of_visits.append(of_visits(after.visits.take(changed), state.log_time, sign=1))
    _keep_now(state, after)


def _slow(state: LiveState, hits: pl.DataFrame, touched: _Touched, contributions: Contributions) -> None:
    begin = _begin_of(state, touched)
    kept = _kept_hits(state, begin)
    bases = _bases(state, begin.slots[begin.since <= state.horizon])
    before = build(kept, bases, state.sites, state.interned)
    together = pl.concat([kept, hits.select(*KEPT_COLUMNS)])
    contributions.rebuilt.append(together)
    after = build(together, bases, state.sites, state.interned)
    contributions.of_visits.append(of_visits(before.visits, state.log_time, sign=-1))
    contributions.of_visits.append(of_visits(after.visits, state.log_time, sign=1))
    dims = dimensions_of(together, after, state.interned)
    contributions.of_hits += added(hits, dims[kept.height :])
    _move(kept, dimensions_of(kept, before, state.interned), dims[: kept.height], contributions)
    if state.pinned.height:
        pinned, of_base = _pinned_hits(state, bases)
        if pinned.height:
            contributions.rebuilt.append(pinned)
            _move(pinned, _dims_of_bases(before, of_base), _dims_of_bases(after, of_base), contributions)
    state.closing = state.closing.take(~_are_rebuilt(state, begin, bases))
    _keep_now(state, after)


@dataclass(frozen=True, slots=True)
class _Begin:
    """Arrays that state, for each timeline, the first hit from which the timeline is rebuilt.

    Each array has the shape (k,), and is sorted by timeline key.

    If a timeline takes the slow path only because a visit's first view arrives, all new hits of the timeline are later
    than the timeline's earlier hits. Only the visit with the new view changes, so rebuilding starts at this visit. The
    visitor may have a million hits in earlier visits.

    Attributes:
        keys: timeline keys, in ascending order.
        slots: timeline slots.
        since: the event time of the first hit from which the timeline is rebuilt; never before the horizon.
        first_hash: the hit_hash of the first hit from which the timeline is rebuilt. If another hit has the event time
            `since` and a hash below `first_hash`, the other hit belongs to the previous visit.
    """

    keys: U64Array
    slots: I64Array
    since: I64Array
    first_hash: U64Array

    def are_needed(self, keys: U64Array, times: I64Array, hashes: U64Array) -> BoolArray:
        """Return a boolean array (n,): True for hits at or after the start of rebuilding in their timeline."""
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        since = self.since[places]
        is_later = (times > since) | ((times == since) & (hashes >= self.first_hash[places]))
        needed: BoolArray = (self.keys[places] == keys) & is_later
        return needed


def _begin_of(state: LiveState, touched: _Touched) -> _Begin:
    keys, slots = touched.keys[touched.slow], touched.slots[touched.slow]
    now = state.timelines.now
    from_visit = touched.lands_only[touched.slow] & (now.start[slots] > state.horizon)
    return _Begin(
        keys,
        slots,
        np.where(from_visit, now.start[slots], state.horizon),
        np.where(from_visit, now.first_hash[slots], np.uint64(0)),
    )


def _are_rebuilt(state: LiveState, begin: _Begin, bases: VisitColumns) -> BoolArray:
    """Return whether each visit in `state.closing` was rebuilt.

    If a timeline was rebuilt from the horizon, two kinds of visits were rebuilt: the visit that was open at the
    horizon, and every visit whose last hit is at or after the horizon.
    """
    closing = state.closing
    since = closing.last >= state.horizon
    return np.isin(closing.key, begin.keys[begin.since <= state.horizon]) & (
        since | np.isin(closing.first_hash ^ closing.key, bases.first_hash ^ bases.key)
    )


def _kept_hits(state: LiveState, begin: _Begin) -> pl.DataFrame:
    """Return the kept hits from which the timelines in `begin` are rebuilt."""

    def are_late_enough(keys: U64Array, times: I64Array) -> BoolArray:
        return begin.are_needed(keys, times, np.full(len(keys), np.iinfo(np.uint64).max))

    visitors = np.unique(visitors_of(begin.keys))
    rows = state.kept.of_visitors(visitors, chosen=Chosen("event_time", are_late_enough))
    needed = begin.are_needed(*(rows[name].to_numpy() for name in ("key", "event_time", "hit_hash")))
    return rows.filter(pl.Series(needed) & rows.select(forms_visits()).to_series())


def _bases(state: LiveState, slots: I64Array) -> VisitColumns:
    """Return the bases of the timelines in `slots`: the visits that were open at the horizon."""
    places = state.timelines.base[slots]
    return state.timelines.bases.take(places[places >= 0].astype(np.int64))


def _move(hits: pl.DataFrame, old: I32Array, new: I32Array, contributions: Contributions) -> None:
    """For each hit whose dimensions changed, retract the old contributions and add the new contributions."""
    moved = np.flatnonzero(old != new)
    if len(moved):
        contributions.of_hits += taken_back(hits[moved], old[moved])
        contributions.of_hits += added(hits[moved], new[moved])


def _pinned_hits(state: LiveState, bases: VisitColumns) -> tuple[pl.DataFrame, I64Array]:
    """Return the hits in `state.pinned` that belong to the visits `bases`.

    Also return each hit's visit, as an index into `bases`.
    """
    order = np.argsort(bases.key)
    keys = state.pinned["key"].to_numpy()
    found = np.searchsorted(bases.key[order], keys)
    found[found == len(order)] = 0
    mine = np.flatnonzero(bases.key[order][found] == keys) if len(order) else np.empty(0, np.int64)
    return state.pinned[mine], order[found[mine]] if len(order) else mine


def _dims_of_bases(built: Built, of_base: I64Array) -> I32Array:
    dims = np.zeros(int(of_base.max()) + 1, np.int32)
    was = np.flatnonzero((built.carried >= 0) & (built.carried < len(dims)))
    dims[built.carried[was]] = built.visits.dims[was]
    of_hits: I32Array = dims[of_base]
    return of_hits


def _keep_now(state: LiveState, built: Built) -> None:
    """Store each timeline's latest visit, and all earlier visits that have not ended yet."""
    last = built.is_last()
    newest = built.visits.take(last)
    state.timelines.now.put(state.timelines.find(newest.key), newest)
    followed = ~last & ~built.visits.ended(state.log_time)
    if followed.any():
        state.closing = VisitColumns.concat(state.closing, built.visits.take(followed))
