"""The state of a hits partition: a cache of the log (journey step 5, architecture A5).

The modules `step`, `horizon` and `snapshot` change, prune and save the state.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from hitmesh.model.arrays import I32Array
from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.rows.row_digest import RowDigest
from processor.rules.carry import CARRIED_DIMENSIONS
from processor.stream.live.epochs import EpochSums
from processor.stream.live.folding import FoldedTexts
from processor.stream.live.id_filter import IdFilter
from processor.stream.live.interning import Interned
from processor.stream.live.kept import KEPT_COLUMNS, KeptHits, Spill
from processor.stream.live.limits import PRODUCTION, Limits
from processor.stream.live.sites import Sites
from processor.stream.live.visit_table import Timelines, VisitColumns


@dataclass(slots=True)
class PathCounts:
    """Hit counts per path (architecture A7, A8; rule S9)."""

    fast: int = 0
    slow: int = 0
    waiting: int = 0
    late: int = 0
    history: int = 0
    copies: int = 0

    def add(self, other: PathCounts) -> None:
        """Add other counts to these."""
        for name in PathCounts.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(slots=True)
class LiveState:
    """The state of a partition after all records up to a position.

    Attributes:
        partition: the partition's id.
        spill: moves kept hits out of memory.
        limits: when the tables grow, spill and are tidied.
        digest: computes the row digests.
        next_offset: offset of the next record.
        log_time: the last record's log time, ms.
        ended_through: log time up to which ended visits have been counted as ended, ms.
        written: the last record's write timestamp, µs (architecture A6).
        horizon: event time from which hits are kept individually, ms; the bases represent earlier hits. No on-time hit
            is earlier than the horizon.
        sites: site numbers and rules.
        interned: numbers for texts and dimension tuples.
        timelines: visits that can still change.
        closing: visits that have a successor in their timeline but have not ended.
        pinned: hits (KEPT_COLUMNS) before the horizon in open visits without a view, because the first view will change
            their landing page.
        ids: the kept hits' ids.
        kept: the kept hits.
        texts: which texts in the kept hits are not folded.
        sums: the current epoch's sums.
        tidied: number of texts or tuples, whichever is greater, after the last tidying.
    """

    partition: PartitionId
    spill: Spill
    limits: Limits = PRODUCTION
    digest: RowDigest = field(default_factory=RowDigest)
    next_offset: int = 0
    log_time: int = 0
    ended_through: int = 0
    written: int = 0
    horizon: int = 0
    sites: Sites = field(default_factory=Sites)
    interned: Interned = field(init=False)
    timelines: Timelines = field(init=False)
    closing: VisitColumns = field(default_factory=VisitColumns.empty)
    pinned: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=KEPT_COLUMNS))
    ids: IdFilter = field(init=False)
    kept: KeptHits = field(init=False)
    texts: FoldedTexts = field(init=False)
    sums: EpochSums = field(init=False)
    tidied: int = 0

    def __post_init__(self) -> None:
        self.intern()
        self.timelines = Timelines(self.limits)
        self.ids = IdFilter(self.limits)
        self.kept = KeptHits(self.spill, self.limits)
        self.texts = FoldedTexts(self.limits)
        self.sums = EpochSums(lg_k=self.limits.lg_k)

    def intern(self, texts: pl.Series | None = None, codes: I32Array | None = None) -> None:
        """Start with these texts and tuples; arguments as for Interned."""
        self.interned = Interned(CARRIED_DIMENSIONS, texts, codes, self.digest, self.limits.hash_bits)

    @property
    def position(self) -> PartitionProgress:
        """The next offset, and the log time of the last record."""
        return PartitionProgress(self.next_offset, self.log_time)
