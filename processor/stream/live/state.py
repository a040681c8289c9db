"""The state of one partition of hits (step 5 of the journey, decision A5): a cache of its log.

Decides what it consists of; `step` says how it changes, `horizon` how it forgets, `snapshot` how it is saved.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.rows.row_digest import RowDigest
from processor.rules.carry import CARRIED_DIMENSIONS
from processor.stream.live.epochs import EpochSums
from processor.stream.live.folding import FoldedTexts
from processor.stream.live.id_filter import IdFilter
from processor.stream.live.interning import Interned
from processor.stream.live.kept import KEPT_COLUMNS, KeptHits
from processor.stream.live.limits import PRODUCTION, Limits
from processor.stream.live.sites import Sites
from processor.stream.live.visit_table import Timelines, VisitColumns


@dataclass(slots=True)
class PathCounts:
    """How many hits took which path (decisions A7, A8; rule S9)."""

    fast: int = 0
    slow: int = 0
    waiting: int = 0
    late: int = 0
    history: int = 0
    copies: int = 0

    def add(self, other: PathCounts) -> None:
        """Add counts to these."""
        for name in PathCounts.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


@dataclass(slots=True)
class LiveState:
    """What is known of a partition after its records up to a position.

    Attributes:
        partition: which one.
        cache: directory for kept hits.
        limits: when its tables grow, spill and are tidied.
        digest: makes the digests of its rows.
        next_offset: the next record.
        log_time: of the last record, ms.
        ended_through: log time up to which visits that have ended were counted as such.
        written: write timestamp of the last record, µs (decision A6).
        horizon: event time, ms, from which on hits are kept one by one; what came before is in the bases. No hit on
            time is older.
        sites: numbers of sites.
        interned: numbers of texts and dimensions.
        timelines: visits that can still change.
        closing: visits that a later one of their timeline has followed, until they have ended.
        pinned: KEPT_COLUMNS of hits before the horizon in open visits without a view: when the first view comes, their
            landing page changes.
        ids: ids of the hits that are kept.
        kept: the kept hits.
        texts: which texts of the hits that are kept stay as they are.
        sums: of the current epoch.
        tidied: how many texts or tuples there were when they were tidied last.
    """

    partition: PartitionId
    cache: Path
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
        self.kept = KeptHits(self.cache, self.limits)
        self.texts = FoldedTexts(self.limits)
        self.sums = EpochSums(lg_k=self.limits.lg_k)

    def intern(self, texts: pl.Series | None = None, codes: npt.NDArray[np.int32] | None = None) -> None:
        """Begin with these texts and tuples, as of Interned."""
        self.interned = Interned(CARRIED_DIMENSIONS, texts, codes, self.digest, self.limits.hash_bits)

    @property
    def position(self) -> PartitionProgress:
        """The next record, and the log time of the one before it."""
        return PartitionProgress(self.next_offset, self.log_time)
