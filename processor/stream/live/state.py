"""The state of a partition of hits. The state is a cache of the log (journey step 5, architecture A5).

The modules `step`, `horizon` and `snapshot` change, prune and save this state.
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
    """The number of hits on each path (architecture A7, A8; rule S9)."""

    fast: int = 0
    slow: int = 0
    waiting: int = 0
    late: int = 0
    history: int = 0
    copies: int = 0

    def add(self, other: PathCounts) -> None:
        """Add the counts of another step."""
        for name in PathCounts.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(slots=True)
class LiveState:
    """The state of a partition after all records up to a position.

    Attributes:
        partition: the id of the partition.
        spill: a function that moves kept hits from memory to files.
        limits: decides when the tables grow, are written to files, and lose their unused entries.
        digest: computes the row digests.
        next_offset: the offset of the next record to apply.
        log_time: the last record's log time in ms.
        ended_through: all visits that ended before this log time (ms) have been counted as ended.
        written: the last record's write timestamp in µs (architecture A6).
        horizon: an event time in ms. Hits at or after the horizon are kept individually. Before the horizon, only the
            `pinned` hits and the visits that were open at the horizon (`Timelines.bases`) are kept. No on-time hit is
            earlier than the horizon.
        sites: the sites with their numbers and rules.
        interned: the numbers of texts and dimension tuples.
        timelines: the timelines whose visits can still change.
        closing: visits that have not ended yet although another visit follows in their timeline.
        pinned: the hits before the horizon (KEPT_COLUMNS) that are in open visits without a view. When such a visit
            gets its first view, the landing page of the visit's hits changes.
        ids: a filter that contains the kept hits' ids.
        kept: the kept hits.
        texts: the texts in kept hits that are not folded into `(other)`.
        sums: the current epoch's sums.
        tidied: the number of texts or tuples, whichever is greater, after unused entries were last dropped.
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
        """Replace `interned` by a new Interned with these texts and tuples. The arguments are those of Interned."""
        self.interned = Interned(CARRIED_DIMENSIONS, texts, codes, self.digest, self.limits.hash_bits)

    @property
    def position(self) -> PartitionProgress:
        """The next offset, and the log time of the last record."""
        return PartitionProgress(self.next_offset, self.log_time)
