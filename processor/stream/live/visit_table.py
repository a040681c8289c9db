"""Stores visits as numeric columns. Stores a partition's open visits by timeline (journey step 5, architecture A5).

Decides which facts about a visit are kept while the visit can still change. A timeline consists of a visitor's hits on
a site. Excluded hits form a separate timeline. The timeline key is a 64-bit hash.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import polars as pl

from hitmesh.model.arrays import BoolArray, I32Array, I64Array, U64Array
from processor.stream.live.hash_index import HashIndex
from processor.stream.live.limits import PRODUCTION, Limits

_TYPES: Final[Mapping[str, type[np.generic]]] = {
    "key": np.uint64,
    "site": np.int32,
    "start": np.int64,
    "first_hash": np.uint64,
    "last": np.int64,
    "deadline": np.int64,
    "hits": np.int32,
    "acts": np.int32,
    "views": np.int32,
    "campaign": np.uint64,
    "dims": np.int32,
    "exit": np.int32,
    "has_order": np.bool_,
}


@dataclass(slots=True)
class VisitColumns:
    """Visits (m,).

    Attributes:
        key: the timeline key; the lowest bit is 1 for excluded hits.
        site: the site's number.
        start: the first hit's event time in ms.
        first_hash: the first hit's hit_hash.
        last: the last hit's event time, ms.
        deadline: the sum of `last` and the gap in the site's policy, in ms. The visit has ended when the log time is
            greater than `deadline`.
        hits: the visit's number of hits; 0 if the timeline has only orphans and no visit.
        acts: the number of interactive hits.
        views: the number of page and screen views.
        campaign: the hash of the visit's current campaign; 0 = none.
        dims: the number of the visit's CARRIED_DIMENSIONS tuple.
        exit: the text code of the last viewed page; 0 = none.
        has_order: whether the visit has an ORDER that counts.
    """

    key: U64Array
    site: I32Array
    start: I64Array
    first_hash: U64Array
    last: I64Array
    deadline: I64Array
    hits: I32Array
    acts: I32Array
    views: I32Array
    campaign: U64Array
    dims: I32Array
    exit: I32Array
    has_order: BoolArray

    def __len__(self) -> int:
        return len(self.key)

    @classmethod
    def empty(cls, length: int = 0) -> VisitColumns:
        """Return `length` visits in which all values are 0."""
        return cls(**{name: np.zeros(length, kind) for name, kind in _TYPES.items()})

    @classmethod
    def concat(cls, *parts: VisitColumns) -> VisitColumns:
        """Return the visits of all parts, in order."""
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in _TYPES})

    @classmethod
    def of_frame(cls, frame: pl.DataFrame) -> VisitColumns:
        """Return the visits in a frame from `to_frame`."""
        return cls(**{name: frame[name].to_numpy().astype(kind) for name, kind in _TYPES.items()})

    def take(self, places: I64Array | BoolArray) -> VisitColumns:
        """Return the visits at the given places. If a mask is given, return the visits for which it is true."""
        return VisitColumns(**{name: getattr(self, name)[places] for name in _TYPES})

    def put(self, places: I64Array, visits: VisitColumns) -> None:
        """Replace the visits at the given places, which must be distinct."""
        for name in _TYPES:
            getattr(self, name)[places] = getattr(visits, name)

    def to_frame(self) -> pl.DataFrame:
        """Return the columns as a frame."""
        return pl.DataFrame({name: getattr(self, name) for name in _TYPES})

    @property
    def excluded(self) -> BoolArray:
        """Whether each visit consists of excluded hits."""
        return (self.key & np.uint64(1)).astype(np.bool_)

    def ended(self, log_time: int) -> BoolArray:
        """Return whether each visit has ended at a log time (rule S7)."""
        return self.deadline < log_time


class Timelines:
    """The timelines of a partition that an on-time hit can still change. Each timeline has a slot.

    Attributes:
        now: each slot's latest visit.
        seen: the latest event time in ms of each slot's on-time hits, including orphans.
        base: for each slot, the index in `bases` of the visit that was open at the horizon. If no visit was open at the
            horizon, the index is −1. If all hits of the slot are before the horizon, the index is −1 too, because `now`
            then contains the open visit.
        bases: the visits that were open at the horizon, in their state at the horizon.
    """

    def __init__(self, limits: Limits = PRODUCTION) -> None:
        self._smallest_bits = limits.index_bits
        self._index = HashIndex(smallest_bits=self._smallest_bits)
        self._count = 0
        self._now = VisitColumns.empty(16)
        self._seen = np.zeros(16, np.int64)
        self._base = np.full(16, -1, np.int32)
        self.bases = VisitColumns.empty()

    def __len__(self) -> int:
        return self._count

    @property
    def now(self) -> VisitColumns:
        """The latest visit in each slot. The arrays are NumPy views: writing to an array changes the visits."""
        return VisitColumns(
            **{field.name: getattr(self._now, field.name)[: self._count] for field in fields(VisitColumns)}
        )

    @property
    def seen(self) -> I64Array:
        """The latest event time of each slot's on-time hits. Callers may change the array."""
        return self._seen[: self._count]

    @property
    def base(self) -> I32Array:
        """Each slot's index in `bases`; −1 if `bases` has no visit for the slot.

        Callers may change the array.
        """
        return self._base[: self._count]

    def find(self, keys: U64Array) -> I64Array:
        """Return each timeline's slot. If a timeline has no slot, the result is −1."""
        return self._index.find(keys)

    def add(self, keys: U64Array) -> I64Array:
        """Add timelines without visits. Return the slots of these timelines. The timelines must be distinct and new."""
        slots = self._count + np.arange(len(keys))
        self._reserve(self._count + len(keys))
        self._count += len(keys)
        self._index.add(keys, slots)
        now = self.now
        now.put(slots, VisitColumns.empty(len(keys)))
        now.key[slots] = keys
        self.seen[slots] = np.iinfo(np.int64).min
        self.base[slots] = -1
        return slots

    def set_bases(self, slots: I64Array, bases: VisitColumns) -> None:
        """Add bases, which are visits that were open at the horizon, for slots that have no base yet."""
        self.base[slots] = len(self.bases) + np.arange(len(slots), dtype=np.int32)
        self.bases = VisitColumns.concat(self.bases, bases)

    def keep_only(self, alive: BoolArray) -> None:
        """Drop all slots that are not `alive`. Also drop each visit in `bases` to which no slot refers."""
        now, seen, base = self.now.take(alive), self.seen[alive], self.base[alive]
        with_base = np.flatnonzero(base >= 0)
        self.bases = self.bases.take(base[with_base].astype(np.int64))
        base[with_base] = np.arange(len(with_base), dtype=np.int32)
        self.replace(now, seen, base, self.bases)

    def replace(self, now: VisitColumns, seen: I64Array, base: I32Array, bases: VisitColumns) -> None:
        """Replace all slots, and all visits in `bases`."""
        self._count = len(now)
        self._now, self._seen, self._base, self.bases = now, seen, base, bases
        self._index = HashIndex(self._count, self._smallest_bits)
        self._index.add(now.key, np.arange(self._count))

    def _reserve(self, length: int) -> None:
        if length <= len(self._seen):
            return
        size = max(length, len(self._seen) * 3 // 2)
        more = size - len(self._seen)
        self._now = VisitColumns.concat(self._now, VisitColumns.empty(more))
        self._seen = np.concatenate([self._seen, np.zeros(more, np.int64)])
        self._base = np.concatenate([self._base, np.full(more, -1, np.int32)])
