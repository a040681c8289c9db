"""Finds hits that are copies of earlier hits (journey step 5, rules D1 and D2).

A hit is a copy if the log contains an earlier hit with the same visitor and hit id. The event times of both hits must
be at most two hours apart. The earlier hit may itself be a copy. The verdict on a hit therefore depends only on hits
within two hours of this hit, and not on the length of the window.

`hit_hash`, 64 bits of XXH3, finds candidates. The texts of the ids then decide whether a candidate is a copy (rule D0).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from hitmesh.model.arrays import BoolArray, I64Array, U64Array
from hitmesh.model.limits import COPY_WINDOW_MS

_MIX_HIGH: Final = np.uint64(0x9E3779B97F4A7C15)
_MIX_LOW: Final = np.uint64(0xC2B2AE3D27D4EB4F)
KEY_COLUMNS: Final = ("visitor_hi", "visitor_lo", "hit_hash")


@dataclass(frozen=True, slots=True)
class Copies:
    """The verdict on each hit.

    Attributes:
        is_copy: (n,) whether the hit is a duplicate.
        original: (n,) the row of the earlier hit that the hit copies, or −1 if the hit is not a copy.
        collides: (n,) whether the hit is a copy whose content differs from the original's (ID_COLLISION).
    """

    is_copy: BoolArray
    original: I64Array
    collides: BoolArray


def find_copies(hits: pl.DataFrame, window_ms: int = COPY_WINDOW_MS) -> Copies:
    """Return which hits are copies. All hits must belong to one site.

    Args:
        hits: the hits in log order, with the columns visitor_hi, visitor_lo, hit_hash, hit_id, content_hash and
            event_time.
        window_ms: the maximum difference between the event times of a copy and its original.
    """
    original = np.full(hits.height, -1, np.int64)
    suspects = _suspects(hits)
    if len(suspects):
        _mark_copies(hits, suspects, window_ms, original)
    is_copy = original >= 0
    collides = np.zeros(hits.height, np.bool_)
    content = hits["content_hash"].to_numpy()
    collides[is_copy] = content[is_copy] != content[original[is_copy]]
    return Copies(is_copy, original, collides)


def _suspects(hits: pl.DataFrame) -> I64Array:
    """Return the rows whose key may occur more than once.

    Usually, no key occurs more than once, and the search costs only a sort.
    """
    mixed = key_hashes(hits)
    repeated = repeated_hashes(mixed)
    if len(repeated) == 0:
        return np.empty(0, np.int64)
    return np.flatnonzero(np.isin(mixed, repeated)).astype(np.int64)


def key_hashes(hits: pl.DataFrame) -> U64Array:
    """Return a hash of each hit's `KEY_COLUMNS`, which finds candidates for copies (rule D0)."""
    high, low, hit_hash = (hits[name].to_numpy() for name in KEY_COLUMNS)
    hashes: U64Array = (high * _MIX_HIGH) ^ (low * _MIX_LOW) ^ hit_hash
    return hashes


def repeated_hashes(hashes: U64Array) -> U64Array:
    """Return the hashes that occur more than once, sorted."""
    ordered = np.sort(hashes)
    repeated: U64Array = ordered[1:][ordered[1:] == ordered[:-1]]
    return repeated


def _mark_copies(hits: pl.DataFrame, rows: I64Array, window_ms: int, original: I64Array) -> None:
    """Set `original` for each copy among `rows`. The row numbers must be ascending."""
    keys = hits.select(*KEY_COLUMNS, "hit_id", "event_time")[rows]
    order, first = _groups(keys, KEY_COLUMNS)
    if are_apart(keys["hit_id"][order], first).any():
        order, first = _groups(keys, (*KEY_COLUMNS, "hit_id"))
    times = keys["event_time"].to_numpy()[order]
    begins = np.flatnonzero(first)
    spread = np.maximum.reduceat(times, begins) - np.minimum.reduceat(times, begins)
    group = np.cumsum(first) - 1
    near = (spread <= window_ms)[group] & ~first
    sorted_rows = rows[order]
    original[sorted_rows[near]] = sorted_rows[begins[group[near]]]
    ends = np.append(begins[1:], len(times))
    for far in np.flatnonzero(spread > window_ms):
        _mark_far_copies(sorted_rows[begins[far] : ends[far]], times[begins[far] : ends[far]], window_ms, original)


def _groups(keys: pl.DataFrame, names: Sequence[str]) -> tuple[npt.NDArray[np.integer], BoolArray]:
    """Return a stable sort order by the columns `names`, and whether each sorted row begins a group of equal rows."""
    order = keys.select(pl.arg_sort_by(list(names), maintain_order=True)).to_series().to_numpy()
    changes = (pl.col(name).ne_missing(pl.col(name).shift(1)) for name in names)
    first = keys[order].select(pl.any_horizontal(changes)).to_series().to_numpy().copy()
    first[:1] = True
    return order, first


def are_apart(texts: pl.Series, first: BoolArray) -> BoolArray:
    """Return whether each text differs from the previous text in the same group. Groups begin where `first` is true."""
    changed: BoolArray = (texts != texts.shift(1)).fill_null(value=False).to_numpy()
    return changed & ~first


def _mark_far_copies(rows: I64Array, times: I64Array, window_ms: int, original: I64Array) -> None:
    """Find copies hit by hit, for the rare case that hits with the same id are more than two hours apart.

    Each hit is compared with the hits that are earlier in log order and nearest in event time. A linked list contains
    the hits in the order of their event times. Hits are removed from the list in reverse log order. When a hit is
    removed, the hit's neighbours in the list are therefore earlier in the log than the hit. The time is O(n log n).
    """
    instants, places = np.unique(times, return_inverse=True)
    at, place_of = instants.tolist(), places.tolist()
    rows_at: list[list[int]] = [[] for _ in at]
    for row, place in zip(rows.tolist(), place_of, strict=True):
        rows_at[place].append(row)
    before, after = list(range(-1, len(at) - 1)), list(range(1, len(at) + 1))
    for place in reversed(place_of):
        here = rows_at[place]
        row, left, right = here.pop(), before[place], place if here else after[place]
        near = []
        if left >= 0 and at[place] - at[left] <= window_ms:
            near.append(rows_at[left][-1])
        if right < len(at) and at[right] - at[place] <= window_ms:
            near.append(rows_at[right][0])
        if near:
            original[row] = min(near)
        if not here:
            if left >= 0:
                after[left] = right
            if right < len(at):
                before[right] = left
