"""Sums a partition's contributions per epoch, by cell and for the ledger (journey step 6, A6, rule D5).

Emitted rows and counted hits are added up per epoch. If records are applied again, the stored totals are overwritten
(architecture A6). An epoch is 15 minutes of log time. When an epoch is over, its values are final.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import polars as pl

from hitmesh.model.amounts import sums as exact_sums
from hitmesh.model.generations import STREAM_GENERATION
from hitmesh.model.ledger import LedgerKind
from hitmesh.model.limits import LG_K_CELL
from hitmesh.model.positions import PartitionId
from hitmesh.model.rows.rollup_rows import AMOUNT_MEASURES, TRAFFIC_MEASURES, VISITS_MEASURES, RowSource
from hitmesh.model.rows.stream_columns import (
    LEDGER_COLUMNS,
    LEDGER_SUMS,
    MOVED_VISITORS,
    PARTIAL_COLUMNS,
    PARTIAL_SUMS,
    SERIES_COLUMNS,
    UNKEYED_DIGESTS,
)
from hitmesh.model.sketches.unions import merge_by_group
from processor.stream.live.rows import SignedRows

_CELL: Final = ("site", "day", "cell", "excluded")
_KEY: Final = (*_CELL, "currency")
_SUMS: Final = {name: dtype for name, dtype in SERIES_COLUMNS.items() if name not in (*_KEY, MOVED_VISITORS)}
_CHANGED: Final = "changed"  # whether values have changed since the last `take`
_LEDGER_KEY: Final = ("site", "kind", "at", "class")
_MEASURES: Final = {
    RowSource.TRAFFIC: (*TRAFFIC_MEASURES, MOVED_VISITORS),
    RowSource.VISITS: VISITS_MEASURES,
}
# Empty frames are made once, because making a frame with so many columns takes longer than processing a small window.
_NO_CELLS: Final = pl.DataFrame(schema={**SERIES_COLUMNS, _CHANGED: pl.Boolean()})
_NO_COUNTS: Final = pl.DataFrame(schema={**LEDGER_SUMS, _CHANGED: pl.Boolean()})
_NO_PARTIALS: Final = pl.DataFrame(schema=PARTIAL_COLUMNS)
_NO_LEDGER: Final = pl.DataFrame(schema=LEDGER_COLUMNS)


@dataclass(frozen=True, slots=True)
class DueValues:
    """The values to store: partials (PARTIAL_COLUMNS) and ledger entries (LEDGER_COLUMNS)."""

    partials: pl.DataFrame
    ledger: pl.DataFrame


@dataclass(slots=True)
class EpochSums:
    """The current epoch's sums for each cell and currency. An instance must be used by one thread only.

    Attributes:
        epoch: the log time in ms at which the epoch starts; −1 before the first record.
        cells: the sums of each cell and currency (SERIES_COLUMNS), and whether each row has changed.
        counts: the sums for the ledger (LEDGER_SUMS), and whether each row has changed.
        lg_k: if a sketch that unites several rows has more than 2**lg_k visitors, the sketch becomes a sample.
    """

    epoch: int = -1
    cells: pl.DataFrame = field(default_factory=_NO_CELLS.clone)
    counts: pl.DataFrame = field(default_factory=_NO_COUNTS.clone)
    lg_k: int = LG_K_CELL

    def __post_init__(self) -> None:
        """Cast sums that were stored as int64 to the types of their columns."""
        self.cells = self.cells.cast({name: SERIES_COLUMNS[name] for name in AMOUNT_MEASURES})

    def begin(self, epoch: int) -> None:
        """Start an epoch without values.

        Before this call, the caller must have taken the previous epoch's values (`take`).
        """
        self.epoch = epoch
        self.cells, self.counts = _NO_CELLS.clone(), _NO_COUNTS.clone()

    def add_rows(self, traffic: SignedRows, visits: SignedRows) -> None:
        """Add emitted rows."""
        parts = [
            _of_rows(signed, source)
            for source, signed in ((RowSource.TRAFFIC, traffic), (RowSource.VISITS, visits))
            if signed.rows.height
        ]
        if parts:
            self.cells = _summed_cells([self.cells, *parts], self.lg_k)

    def touch(self, cells: pl.DataFrame) -> None:
        """Mark cells (site, day, cell, excluded, currency, moved_visitors) as changed, even if nothing was added.

        A stored value is overwritten only by a value with the same key. When records are applied again, they may be
        divided into other steps than in the first run. Every key that may have been stored in the first run of the
        records must therefore be written again. For each cell, the key without a currency is also marked as changed.
        The first run of the records may have counted a visit in the cell, and visits have no currency. Older releases
        stored all values without a currency, because they did not split sums by currency.
        """
        known = pl.concat([self.cells.select(_CELL), cells.select(_CELL)]).unique()
        of_none = known.with_columns(pl.lit("").alias("currency"), pl.lit(0, pl.Int64).alias(MOVED_VISITORS))
        keys = pl.concat([cells.select(of_none.columns), of_none])
        nothing = (pl.lit(None if name == "visitors" else 0, dtype).alias(name) for name, dtype in _SUMS.items())
        touched = keys.with_columns(*nothing, pl.lit(value=True).alias(_CHANGED))
        self.cells = _summed_cells([self.cells, touched.select(self.cells.columns)], self.lg_k)

    def add_counts(self, counts: Sequence[pl.DataFrame]) -> None:
        """Add ledger rows (LEDGER_SUMS) to the epoch's counts."""
        parts = [part.with_columns(pl.lit(value=True).alias(_CHANGED)) for part in counts if part.height]
        if parts:
            self.counts = _summed_counts(pl.concat([self.counts, *parts]))

    def take(self, partition: PartitionId, written: int) -> DueValues:
        """Return the values that have changed since the last call, with `written` as the write timestamp."""
        if not self.has_changed:
            return DueValues(_NO_PARTIALS.clone(), _NO_LEDGER.clone())
        cells, counts = self.cells.filter(_CHANGED), self.counts.filter(_CHANGED)
        self.cells = self.cells.with_columns(pl.lit(value=False).alias(_CHANGED))
        self.counts = self.counts.with_columns(pl.lit(value=False).alias(_CHANGED))
        owner = self._owner(partition, written)
        return DueValues(_owned(cells, owner, PARTIAL_COLUMNS), _owned(counts, owner, LEDGER_COLUMNS))

    def waiting(self, partition: PartitionId, written: int) -> pl.DataFrame:
        """Return the ledger entries for all the epoch's hits that wait for settlement (rule S9), changed or not.

        The entries have the columns LEDGER_COLUMNS.
        """
        return _owned(self.counts.filter(kind=LedgerKind.WAITS), self._owner(partition, written), LEDGER_COLUMNS)

    @property
    def has_changed(self) -> bool:
        """Whether any value has changed since the last `take`."""
        return bool(self.cells[_CHANGED].any() or self.counts[_CHANGED].any())

    def _owner(self, partition: PartitionId, written: int) -> dict[str, str | int]:
        return {
            "generation": STREAM_GENERATION,
            "log": partition.log,
            "partition": partition.partition,
            "epoch": self.epoch,
            "written": written,
        }

    def all_changed(self) -> None:
        """Mark all values as changed. After a recovery or a failed write, every value must be written again."""
        self.cells = self.cells.with_columns(pl.lit(value=True).alias(_CHANGED))
        self.counts = self.counts.with_columns(pl.lit(value=True).alias(_CHANGED))


def _of_rows(signed: SignedRows, source: RowSource) -> pl.DataFrame:
    """Return emitted rows in the form of SERIES_COLUMNS, without adding up rows that have equal keys."""
    there = {*_MEASURES[source], *_KEY}
    currency = pl.col("currency").fill_null("") if source == RowSource.TRAFFIC else pl.lit("").alias("currency")
    return signed.rows.with_columns(currency, pl.Series("digest", signed.digests)).select(
        *(
            pl.col(name).cast(dtype)
            if name in there or name == "digest" or (name == "visitors" and source == RowSource.TRAFFIC)
            else pl.lit(None if name == "visitors" else 0, dtype).alias(name)
            for name, dtype in SERIES_COLUMNS.items()
        ),
        pl.lit(value=True).alias(_CHANGED),
    )


def _summed_cells(parts: Sequence[pl.DataFrame], lg_k: int) -> pl.DataFrame:
    """Return one row per key: sums are added, digests are added modulo 2⁶⁴, and sketches are united."""
    together = pl.concat(parts, rechunk=True)
    summed = together.group_by(_KEY).agg(
        *exact_sums(PARTIAL_SUMS),
        pl.col("digest", UNKEYED_DIGESTS).sum(),
        pl.col("visitors").drop_nulls(),
        pl.col(_CHANGED).any(),
    )
    return summed.with_columns(_united(summed["visitors"], lg_k)).select(*SERIES_COLUMNS, _CHANGED)


def _united(lists: pl.Series, lg_k: int) -> pl.Series:
    """Return the union of the sketches in each list, or null for an empty list."""
    counts = lists.list.len().to_numpy()
    several = np.flatnonzero(counts > 1)
    united = lists.list.first()
    if len(several):
        groups = np.repeat(np.arange(len(several)), counts[several])
        merged = merge_by_group(lists.gather(several).explode(), groups, len(several), lg_k)
        united = united.scatter(several, pl.Series(merged.to_arrow(), dtype=pl.Binary))
    return united.alias("visitors")


def _summed_counts(counts: pl.DataFrame) -> pl.DataFrame:
    summed = counts.group_by(_LEDGER_KEY).agg(
        pl.col("hits").sum(), pl.col("sum64").sum(), pl.col("xor64").bitwise_xor(), pl.col(_CHANGED).any()
    )
    return summed.select(*LEDGER_SUMS, _CHANGED)


def _owned(rows: pl.DataFrame, owner: dict[str, str | int], columns: dict[str, pl.DataType]) -> pl.DataFrame:
    return rows.select(
        (pl.lit(owner[name]) if name in owner else pl.col(name)).cast(dtype).alias(name)
        for name, dtype in columns.items()
    )
