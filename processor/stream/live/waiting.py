"""Bounds the work per visitor: decides which hits of a step wait for settlement (journey step 5, rule S9).

A hit takes the slow path if an earlier record contains a hit of the same timeline at the same time or later. The cost
of the slow path grows with the visitor's kept hits. If a visitor has too many kept hits, further hits that would take
the slow path wait for settlement. Until settlement, a waiting hit counts in hit metrics but belongs to no visit. Which
hits wait depends only on the records in log order, and not on how records are divided into steps.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from hitmesh.model.arrays import BoolArray, I64Array, U64Array
from hitmesh.model.keys import visitors_of
from processor.stream.live.state import LiveState

_NEVER: Final = np.iinfo(np.int64).min


def waiting_hits(state: LiveState, rows: pl.DataFrame, forming: BoolArray) -> BoolArray:
    """Return whether each hit waits for settlement (n,).

    Args:
        state: the state before the step.
        rows: the step's hits (KEPT_COLUMNS), in log order.
        forming: whether each hit forms visits (n,). Hits form visits if they are on time, not offline and not copies.
    """
    waits = np.zeros(rows.height, np.bool_)
    places = np.flatnonzero(forming)
    keys, times = rows["key"].to_numpy(), rows["event_time"].to_numpy()
    suspects = _with_disorder(state, keys[places], times[places])
    if not len(suspects):
        return waits
    visitors = visitors_of(keys)
    suspect_visitors = np.unique(visitors_of(suspects))
    kept = state.kept.counts(suspect_visitors)
    new = np.searchsorted(np.sort(visitors[np.isin(visitors, suspect_visitors)]), suspect_visitors, "right")
    is_heavy = kept + np.diff(new, prepend=0) > state.limits.kept_of_visitor
    if not is_heavy.any():
        return waits
    mine = np.flatnonzero(np.isin(visitors, suspect_visitors[is_heavy]))
    hits = rows.select("key", "offset", "event_time")[mine].with_columns(
        pl.Series("visitor", visitors[mine]), pl.Series("forms", forming[mine])
    )
    held = pl.DataFrame({"visitor": suspect_visitors, "held": kept})
    seen = pl.DataFrame({"key": suspects, "seen": _seen(state, suspects)})
    waits[mine] = _wait(hits, held, seen, state.limits.kept_of_visitor)
    return waits


def _wait(hits: pl.DataFrame, held: pl.DataFrame, seen: pl.DataFrame, limit: int) -> BoolArray:
    """Return whether each hit waits for settlement (n,). A hit waits if `forms` is true and two conditions hold.

    - An earlier record contains a hit of the same timeline at the same time or later.
    - The hit's visitor already has at least `limit` kept hits.

    Args:
        hits: the hits in log order, with the columns key, offset, event_time, visitor and forms (n,).
        held: the columns visitor and `held`, which is the visitor's number of kept hits before the step.
        seen: the columns key and `seen`, which is the timeline's latest event time before the step.
        limit: if a visitor has at least this many kept hits, further hits may have to wait.
    """
    records = hits.group_by("visitor", "offset").agg(pl.len().alias("hits"))
    earlier = (pl.col("hits").cum_sum() - pl.col("hits")).over("visitor", order_by="offset").alias("earlier")
    spans = hits.filter("forms").group_by("key", "offset").agg(pl.col("event_time").max().alias("last"))
    before = pl.col("last").shift(1).cum_max().over("key", order_by="offset").alias("before")
    known = (
        hits.join(held, on="visitor", how="left", maintain_order="left")
        .join(records.with_columns(earlier), on=["visitor", "offset"], how="left", maintain_order="left")
        .join(seen, on="key", how="left", maintain_order="left")
        .join(spans.with_columns(before), on=["key", "offset"], how="left", maintain_order="left")
    )
    is_behind = pl.col("event_time") <= pl.max_horizontal("seen", "before")
    waits = pl.col("forms") & is_behind & (pl.col("held") + pl.col("earlier") >= limit)
    found: BoolArray = known.select(waits.fill_null(value=False)).to_series().to_numpy()
    return found


def _with_disorder(state: LiveState, keys: U64Array, times: I64Array) -> U64Array:
    """Return the timelines in which a new hit is not later than every hit that precedes it in the log."""
    order = np.argsort(keys, kind="stable")
    ordered, ordered_times = keys[order], times[order]
    is_first = np.ones(len(order), np.bool_)
    is_first[1:] = ordered[1:] != ordered[:-1]
    begins = np.flatnonzero(is_first)
    if not len(begins):
        return np.empty(0, np.uint64)
    falls = np.zeros(len(order), np.bool_)
    falls[1:] = ~is_first[1:] & (ordered_times[1:] <= ordered_times[:-1])
    is_behind = np.minimum.reduceat(ordered_times, begins) <= _seen(state, ordered[begins])
    return ordered[begins][is_behind | np.logical_or.reduceat(falls, begins)]


def _seen(state: LiveState, keys: U64Array) -> I64Array:
    """Return the latest event time in each timeline before the step."""
    if not len(state.timelines):
        return np.full(len(keys), _NEVER)
    slots = state.timelines.find(keys)
    latest: I64Array = np.where(slots >= 0, state.timelines.seen[slots], _NEVER)
    return latest
