"""The state of a partition of refusals (journey step 5). The state consists only of the current epoch's sums.

Refused hits add ledger rows. If the UTC day of a refused hit's collect time is not closed yet, the hit also adds to
`rejected_hits` in the cell of its collect time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from hitmesh.model.limits import CELL_MS, CLOSED_AFTER_MS
from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.rows.row_digest import RowDigest
from hitmesh.model.stream_values import FoldedRows
from hitmesh.model.zones import DAY_MS
from processor.stream.live.batch import epoch_of
from processor.stream.live.epochs import EpochSums
from processor.stream.live.ledger import refusals_of
from processor.stream.live.rows import no_rows, of_refusals
from processor.stream.live.state import PathCounts
from processor.stream.live.step import Stepped

_MICROS: Final = 1_000


@dataclass(slots=True)
class RefusalsState:
    """The state of a refusals partition after all records up to a position. The attributes are as in LiveState.

    `digest` computes the row digests.
    """

    partition: PartitionId
    next_offset: int = 0
    log_time: int = 0
    written: int = 0
    sums: EpochSums = field(default_factory=EpochSums)
    digest: RowDigest = field(default_factory=RowDigest)

    @property
    def position(self) -> PartitionProgress:
        """The next offset, and the log time of the last record."""
        return PartitionProgress(self.next_offset, self.log_time)


def take_refusals(
    state: RefusalsState, ends: Sequence[tuple[int, int]], refused: pl.DataFrame, siteless: Sequence[pl.DataFrame]
) -> Stepped:
    """Apply records of one epoch to the state. Return the rows that the records' refusals add.

    Args:
        state: the state after all earlier records.
        ends: (offset, log time) of each record.
        refused: the records' refusals: site, collect_time, hits, hash, log_time.
        siteless: the ledger rows of these records that have no site.
    """
    epoch = epoch_of(ends[0][1])
    due = None
    if epoch != state.sums.epoch:
        due = state.sums.take(state.partition, state.written)
        state.sums.begin(epoch)
    for offset, log_time in ends:
        state.next_offset = offset + 1
        state.log_time = max(state.log_time, log_time)
        state.written = max(log_time * _MICROS, state.written + 1)
    day_end = (pl.col("collect_time") // DAY_MS + 1) * DAY_MS
    counted = refused.filter((pl.col("site") != "") & (pl.col("log_time") <= day_end + CLOSED_AFTER_MS))
    traffic = of_refusals(
        counted.group_by("site", (pl.col("collect_time") - pl.col("collect_time") % CELL_MS).alias("cell")).agg(
            pl.col("hits").sum().alias("rejected_hits")
        ),
        state.digest,
    )
    visits = no_rows(RowSource.VISITS)
    state.sums.add_rows(traffic, visits)
    state.sums.add_counts([*refusals_of(refused), *siteless])
    return Stepped(FoldedRows(state.partition, traffic.rows, visits.rows), due, PathCounts())
