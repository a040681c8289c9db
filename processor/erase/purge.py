"""Removes erased visitors from a partition's state (kind ERASE).

The rows that the stream emitted for an erased visitor remain until the rows' day is settled. This module does not
remove hits from the files of kept hits. After the removal, the stream recovers: it deletes the files, and reads the
kept hits from the log again, without the erased hits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from hitmesh.model.arrays import BoolArray, I64Array, U64Array
from hitmesh.model.positions import PartitionId
from hitmesh.model.zones import DAY_MS
from processor.erase.visitors import ErasedVisitors
from processor.stream.live.snapshot import KEPT_PREFIX
from processor.stream.live.state import LiveState

_MAX_AGE_MS: Final = 2 * DAY_MS
"""The maximum age of a timeline in the state, in log time: 24 h (rule S5) plus the allowed lateness."""


def partitions_with(states: Mapping[PartitionId, LiveState], visitors: ErasedVisitors) -> list[PartitionId]:
    """Return the partitions whose state contains an erased visitor's timeline or kept hit."""
    return [partition for partition, state in states.items() if holds_erased(state, visitors)]


def holds_erased(state: LiveState, visitors: ErasedVisitors) -> bool:
    """Return whether the state contains an erased visitor's timeline or kept hit."""
    names = state.sites.names
    if visitors.sites.isdisjoint(names):
        return False
    if any(rows_of_erased(table, names, visitors).any() for table in _timelines(state)):
        return True
    kept = state.kept.columns("key", "site", "event_time")
    return any(_erased(rows, names, visitors, "event_time").any() for rows in kept)


def purge(state: LiveState, visitors: ErasedVisitors) -> None:
    """Remove erased visitors' timelines that began before the erasure."""
    visitors = visitors.later_than(state.log_time - _MAX_AGE_MS)
    names = state.sites.names
    if visitors.sites.isdisjoint(names):
        return
    timelines = state.timelines
    begun = np.where(timelines.now.hits > 0, timelines.now.start, timelines.seen)
    alive = begun >= _untils(timelines.now.key, timelines.now.site, names, visitors)
    if not alive.all():
        timelines.keep_only(alive)
    closing = state.closing
    state.closing = closing.take(closing.start >= _untils(closing.key, closing.site, names, visitors))
    state.pinned = state.pinned.filter(pl.Series(~_erased(state.pinned, names, visitors, "event_time")))


def tables_with_erased(tables: Mapping[str, pl.DataFrame], visitors: ErasedVisitors) -> bool:
    """Return whether a snapshot's tables (processor.stream.live.snapshot:unpacked) contain an erased visitor."""
    if "sites" not in tables:  # a refusal snapshot has no timelines
        return False
    names = tables["sites"]["name"].to_list()
    if visitors.sites.isdisjoint(names):
        return False
    handed = (name for name in tables if name.startswith(KEPT_PREFIX))
    found = (tables[name] for name in ("now", "bases", "closing", "pinned", *handed) if name in tables)
    return any(rows_of_erased(table, names, visitors).any() for table in found)


def rows_of_erased(table: pl.DataFrame, names: Sequence[str], visitors: ErasedVisitors) -> BoolArray:
    """Return a boolean array (n,): True for each visit or hit that an erased visitor had before the erasure."""
    if "event_time" in table.columns:
        return _erased(table, names, visitors, "event_time")
    if "seen" in table.columns:
        begun = pl.when(pl.col("hits") > 0).then(pl.col("start")).otherwise(pl.col("seen")).alias("begun")
        return _erased(table.with_columns(begun), names, visitors, "begun")
    return _erased(table, names, visitors, "start")


def _timelines(state: LiveState) -> list[pl.DataFrame]:
    now = state.timelines.now.to_frame().with_columns(pl.Series("seen", state.timelines.seen))
    return [now, state.closing.to_frame(), state.pinned]


def _erased(rows: pl.DataFrame, names: Sequence[str], visitors: ErasedVisitors, time: str) -> BoolArray:
    untils = _untils(rows["key"].to_numpy(), rows["site"].to_numpy(), names, visitors)
    erased: BoolArray = rows[time].to_numpy() < untils
    return erased


def _untils(keys: U64Array, sites: npt.NDArray[np.integer], names: Sequence[str], visitors: ErasedVisitors) -> I64Array:
    untils = np.full(len(keys), np.iinfo(np.int64).min)
    for number, name in enumerate(names):
        if name in visitors.sites:
            at = np.flatnonzero(sites == number)
            found = visitors.until(name, keys[at])
            untils[at] = np.where(found > 0, found, untils[at])
    return untils
