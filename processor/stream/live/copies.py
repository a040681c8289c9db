"""Finds the copies among a step's hits (journey step 5, rules D1 and D2 as the stream applies them).

A hit is a copy if an earlier hit in log order has the same (site, visitor, hit id). The event times of both hits must
be at most two hours apart, and their log times at most 90 minutes apart. The earlier hit may itself be a copy. For
nearly all hits, a Bloom filter proves that the id is new. If the filter reports an id as perhaps seen, the id is
compared as text with the ids of the kept hits (rule D0).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from hitmesh.model.arrays import BoolArray, U64Array
from hitmesh.model.keys import visitors_of
from hitmesh.model.limits import COPY_LOG_MS, COPY_WINDOW_MS
from processor.rules.copies import are_apart
from processor.stream.live.batch import hit_ids
from processor.stream.live.id_filter import IdFilter
from processor.stream.live.kept import Chosen, KeptHits
from processor.stream.live.limits import PRODUCTION

_COLUMNS: Final = ("hit_hash", "hit_id", "content_hash", "event_time", "log_time", "offset", "row")


@dataclass(frozen=True, slots=True)
class StreamCopies:
    """Whether each of a step's hits (n,) is a copy, and if so, whether its content differs (ID_COLLISION)."""

    is_copy: BoolArray
    collides: BoolArray


def find_stream_copies(
    rows: pl.DataFrame,
    keys: U64Array,
    ids: U64Array,
    seen: IdFilter,
    kept: KeptHits,
    at_once: int = PRODUCTION.compared_copies,
) -> StreamCopies:
    """Return which hits are copies of earlier hits.

    Args:
        rows: hits other than history hits, in log order: hit_hash, hit_id, content_hash, event_time, log_time, offset,
            row.
        keys: timeline keys (n,).
        ids: each row's id hash from `hit_ids` (n,).
        seen: a filter that contains the ids of earlier hits.
        kept: the earlier hits.
        at_once: up to this many hits with the same id are compared in bulk. Further hits with this id are compared one
            by one.
    """
    copies = StreamCopies(np.zeros(rows.height, np.bool_), np.zeros(rows.height, np.bool_))
    suspect = seen.may_hold(ids)
    earlier = _same_ids(kept, keys[suspect], ids[suspect]) if suspect.any() else None
    suspect |= _repeated(ids)
    if not suspect.any():
        return copies
    places = np.flatnonzero(suspect)
    candidates = rows.select(_COLUMNS)[places].with_columns(pl.Series("id", ids[places]), pl.Series("place", places))
    if earlier is not None:
        known = hit_ids(earlier["key"].to_numpy(), earlier["hit_hash"].to_numpy())
        before = earlier.select(_COLUMNS).with_columns(pl.Series("id", known), pl.lit(-1, pl.Int64).alias("place"))
        candidates = pl.concat([before, candidates])
    ordered = candidates.sort("id", "offset", "row")
    if are_apart(ordered["hit_id"], _begins(ordered)).any():
        ordered = candidates.sort("id", "hit_id", "offset", "row")
    _judge(ordered, copies, at_once)
    return copies


def _same_ids(kept: KeptHits, keys: U64Array, ids: U64Array) -> pl.DataFrame:
    """Return the kept hits whose id hash is in `ids`.

    A visitor may have a million other hits. The kept hits are therefore filtered by id before they are copied in
    memory.
    """

    def are_same(known: U64Array, hashes: U64Array) -> BoolArray:
        return np.isin(hit_ids(known, hashes), ids)

    columns = ("key", *_COLUMNS)
    return kept.of_visitors(np.unique(visitors_of(keys)), columns, Chosen("hit_hash", are_same))


def _repeated(ids: U64Array) -> BoolArray:
    """Return whether each id occurs more than once."""
    ordered = np.sort(ids)
    again = ordered[1:][ordered[1:] == ordered[:-1]]
    return np.isin(ids, again) if len(again) else np.zeros(len(ids), np.bool_)


def _begins(hits: pl.DataFrame) -> BoolArray:
    """Return whether each row is the first row with its id. `hits` must be sorted by id."""
    ids = hits["id"].to_numpy()
    begins: BoolArray = np.concatenate([[True], ids[1:] != ids[:-1]])
    return begins


def _judge(hits: pl.DataFrame, copies: StreamCopies, at_once: int) -> None:
    """Decide which hits are copies. Each hit is compared with earlier hits of the same id.

    `hits` must be sorted by id and log order.
    """
    events, logs, contents, places = (
        hits[name].to_numpy() for name in ("event_time", "log_time", "content_hash", "place")
    )
    first = _begins(hits)
    first |= are_apart(hits["hit_id"], first)
    rank = np.arange(len(first)) - np.flatnonzero(first)[np.cumsum(first) - 1]
    original = np.full(len(first), -1, np.int64)
    # A copy's content must be compared with the earliest original. The loop therefore begins with the nearest hits in
    # the log, and ends with the earliest hits. In `original`, an earlier hit thus replaces a later hit.
    for shift in range(1, min(int(rank.max(initial=0)), at_once) + 1):
        later = np.flatnonzero(rank >= shift)
        before = later - shift
        same = (np.abs(events[later] - events[before]) <= COPY_WINDOW_MS) & (logs[later] - logs[before] <= COPY_LOG_MS)
        original[later[same]] = before[same]
    for place in np.flatnonzero(rank > at_once).tolist():
        group = slice(place - int(rank[place]), place)
        same = (np.abs(events[group] - events[place]) <= COPY_WINDOW_MS) & (logs[place] - logs[group] <= COPY_LOG_MS)
        if same.any():
            original[place] = group.start + int(np.argmax(same))
    found = (original >= 0) & (places >= 0)
    copies.is_copy[places[found]] = True
    copies.collides[places[found]] = contents[found] != contents[original[found]]
