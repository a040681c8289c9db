"""Visits as columns of numbers, and the open ones of a partition by timeline (step 5 of the journey, decision A5).

Decides what is kept of a visit while it can still change; refuses to know how visits are built and what they add to
rows. A timeline is the hits of one visitor of one site, excluded ones apart; its key is a 64-bit hash of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from hitmesh.model.arrays import BoolArray, I32Array, I64Array, U64Array
from processor.stream.live.hash_index import HashIndex
from processor.stream.live.limits import PRODUCTION, Limits

Array = npt.NDArray[np.generic]

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
        key: of the timeline; its lowest bit says whether it is of excluded hits.
        site: number of the site.
        start: event time of the first hit, ms.
        first_hash: hit_hash of the first hit.
        last: event time of the last hit, ms.
        deadline: `last` + the gap of the site's policy; the visit has ended when the log time is greater.
        hits: how many hits; 0 = no visit (a slot whose timeline has only orphans).
        acts: the interactive ones of them.
        views: the page and screen views of them.
        campaign: hash of the current campaign, 0 = none.
        dims: number of the tuple of CARRIED_DIMENSIONS.
        exit: code of the page of the last view, 0 = none.
        has_order: whether it holds an ORDER that counts.
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

    @property
    def nbytes(self) -> int:
        """How much memory the columns take."""
        return sum(getattr(self, name).nbytes for name in _TYPES)

    @classmethod
    def empty(cls, length: int = 0) -> VisitColumns:
        """Return `length` visits of nothing."""
        return cls(**{name: np.zeros(length, kind) for name, kind in _TYPES.items()})

    @classmethod
    def concat(cls, *parts: VisitColumns) -> VisitColumns:
        """Return the visits of all parts, one behind the other."""
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in _TYPES})

    @classmethod
    def of_frame(cls, frame: pl.DataFrame) -> VisitColumns:
        """Return what `to_frame` made a frame."""
        return cls(**{name: frame[name].to_numpy().astype(kind) for name, kind in _TYPES.items()})

    def take(self, places: I64Array | BoolArray) -> VisitColumns:
        """Return the visits at these places, or those where a mask is set."""
        return VisitColumns(**{name: getattr(self, name)[places] for name in _TYPES})

    def put(self, places: I64Array, visits: VisitColumns) -> None:
        """Replace the visits at these places (distinct)."""
        for name in _TYPES:
            getattr(self, name)[places] = getattr(visits, name)

    def to_frame(self) -> pl.DataFrame:
        """Return the columns as a frame."""
        return pl.DataFrame({name: getattr(self, name) for name in _TYPES})

    @property
    def excluded(self) -> BoolArray:
        """Whether each visit is of excluded hits."""
        return (self.key & np.uint64(1)).astype(np.bool_)

    def ended(self, log_time: int) -> BoolArray:
        """Whether each visit has ended at a log time (rule S7)."""
        return self.deadline < log_time


class Timelines:
    """The timelines of a partition that a hit on time can still change, each in a slot.

    Attributes:
        now: the latest visit of each slot, as it is now.
        seen: event time of the latest hit on time of each slot, orphans included, ms.
        base: place in `bases` of each slot's open visit as of the start of the kept hits; −1 = none, or, where
            `seen` lies before that start, `now`.
        bases: those open visits.
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
    def nbytes(self) -> int:
        """How much memory all of it takes."""
        return self._now.nbytes + self._seen.nbytes + self._base.nbytes + self.bases.nbytes + self._index.nbytes

    @property
    def now(self) -> VisitColumns:
        """The latest visit of each slot: views of the columns, which may be written."""
        return VisitColumns(**{one.name: getattr(self._now, one.name)[: self._count] for one in fields(VisitColumns)})

    @property
    def seen(self) -> I64Array:
        """Event time of the latest hit of each slot; may be written."""
        return self._seen[: self._count]

    @property
    def base(self) -> I32Array:
        """Place of each slot's base; may be written."""
        return self._base[: self._count]

    def find(self, keys: U64Array) -> I64Array:
        """Return the slot of each timeline, −1 where it has none."""
        return self._index.find(keys)

    def add(self, keys: U64Array) -> I64Array:
        """Add timelines (distinct, none there) without visits; return their slots."""
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
        """Give slots without a base theirs."""
        self.base[slots] = len(self.bases) + np.arange(len(slots), dtype=np.int32)
        self.bases = VisitColumns.concat(self.bases, bases)

    def keep_only(self, alive: BoolArray) -> None:
        """Forget the other slots, and the bases that no slot has any more."""
        now, seen, base = self.now.take(alive), self.seen[alive], self.base[alive]
        with_base = np.flatnonzero(base >= 0)
        self.bases = self.bases.take(base[with_base].astype(np.int64))
        base[with_base] = np.arange(len(with_base), dtype=np.int32)
        self.replace(now, seen, base, self.bases)

    def replace(self, now: VisitColumns, seen: I64Array, base: I32Array, bases: VisitColumns) -> None:
        """Be these slots."""
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
