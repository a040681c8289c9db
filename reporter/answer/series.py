"""Turn parts into an aligned, typed series: fill gaps, compute values, order and limit the rows (journey step 8).

This module decides the value of an empty bucket, the order of rows and the exactness of columns. This module also
computes each metric from parts: a ratio is the merged numerator over the merged denominator (rule P7).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from hitmesh.model.amounts import fits
from hitmesh.model.arrays import BoolArray, I32Array, I64Array
from hitmesh.model.checkpoints import Checkpoint, unwatched
from hitmesh.model.errors import RefusedError
from hitmesh.model.filters import null_name
from hitmesh.model.money import MICROS
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.rows.rollup_rows import AMOUNT_SUM
from hitmesh.model.sketches.theta import Thetas
from hitmesh.model.sketches.unions import merge_by_group
from reporter.answer.parts import BUCKET, Parts, dimension_columns
from reporter.question.catalogue import VISITORS, Kind, Metric, Unit
from reporter.question.question import MAX_ROWS, TIME, GapFill, Question

_HAPPENED: Final = "happened"
_ESTIMATE: Final = "visitors_estimate"
_ROW: Final = "sketch_row"


class Exactness(StrEnum):
    """The exactness of a column."""

    EXACT = "exact"
    SKETCH = "sketch"
    PARTIAL = "partial"
    SKETCH_PROVISIONAL = "sketch_provisional"
    TEXTS_FOLDED = "texts_folded"
    VISITS_PROVISIONAL = "visits_provisional"


@dataclass(frozen=True)
class Column:
    """The values of a metric; all arrays have an entry per row.

    `numerators` are sums in stored units (micros, ms, counts), and 0 for estimates. If a sum is beyond int64,
    `numerators` contains Python integers. `denominators` are set for ratios only. `values` are floating-point numbers:
    currency units for money, ms for durations, and NaN where `is_empty` is true. `lower` and `upper` are NaN where the
    value is exact, and None if the metric is always exact.
    """

    metric: Metric
    exactness: Exactness
    numerators: I64Array | npt.NDArray[np.object_]
    denominators: I64Array | None
    values: npt.NDArray[np.float64]
    is_empty: BoolArray
    lower: npt.NDArray[np.float64] | None = None
    upper: npt.NDArray[np.float64] | None = None
    relative_standard_error: float = 0.0


@dataclass(frozen=True)
class Series:
    """The rows of an answer. If the gaps could not be filled, `question` has the gap fill NONE.

    For each row, `buckets` has the index of the row's bucket in the question. `dimensions` has a list of values for
    each dimension.
    """

    question: Question
    buckets: I32Array
    dimensions: tuple[list[str], ...]
    columns: tuple[Column, ...]
    total_rows: int
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.buckets)


def series(question: Question, parts: Parts, checkpoint: Checkpoint = unwatched) -> Series:
    """Return the ordered rows for a question, at most `limit` rows.

    Raises:
        Abandoned: the caller left or the deadline passed. The checkpoint is called before each step and each column.
        RefusedError: gap filling was requested explicitly and needs too many rows (TOO_MANY_ROWS).
    """
    rows, sketches = _with_visitors(parts.table)
    rows = rows.filter(pl.col(_HAPPENED))
    checkpoint()
    rows, warnings = _fill_gaps(question, rows)
    checkpoint()
    if warnings:
        question = replace(question, gap_fill=GapFill.NONE)
    rows = rows.with_columns(
        pl.col(name).fill_null(null_name(dimension))
        for name, dimension in zip(dimension_columns(question), question.dimensions, strict=True)
    )
    total_rows = len(rows)
    rows = _ordered(question, rows).head(question.limit)
    if len(rows) < total_rows:
        warnings += (f"{len(rows):,} of {total_rows:,} rows are shown: raise limit, or narrow the question",)
    is_empty = np.zeros(len(rows), np.bool_)
    if question.gap_fill is GapFill.NULL:
        is_empty = ~rows[_HAPPENED].to_numpy()
    columns = []
    for metric in question.metrics:
        checkpoint()
        columns.append(_with_folded_mark(_column(metric, rows, sketches, parts, is_empty), parts))
    return Series(
        question=question,
        buckets=rows[BUCKET].to_numpy(),
        dimensions=tuple(rows[name].to_list() for name in dimension_columns(question)),
        columns=tuple(columns),
        total_rows=total_rows,
        warnings=warnings,
    )


def _with_visitors(table: pl.DataFrame) -> tuple[pl.DataFrame, Thetas]:
    """Return the table and the merged sketches.

    The table has columns for visitor estimates, and a column that shows whether a row has data.
    """
    sums = [pl.col(name) != 0 for name, kind in table.schema.items() if kind in (pl.Int64, AMOUNT_SUM)]
    sketches = merge_by_group(pl.Series([], dtype=pl.Binary), np.empty(0, np.int64), 0)
    if VISITORS in table.columns:
        sketches = merge_by_group(table[VISITORS], np.arange(len(table)), len(table))
        table = table.with_columns(
            pl.Series(_ESTIMATE, sketches.estimates), pl.Series(_ROW, np.arange(len(table), dtype=np.int64))
        ).drop(VISITORS)
        sums.append(pl.col(_ESTIMATE) > 0)
    return table.with_columns(pl.any_horizontal(sums).alias(_HAPPENED)), sketches


def _fill_gaps(question: Question, rows: pl.DataFrame) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Unless gap_fill is NONE, add rows, so that every tuple of dimension values has a row in each bucket."""
    keys = [BUCKET, *dimension_columns(question)]
    if question.gap_fill is GapFill.NONE or (question.dimensions and not question.has_time):
        return rows, ()
    tuples = rows.select(keys[1:]).unique() if question.dimensions else None
    count = len(question.buckets) * (1 if tuples is None else len(tuples))
    if count > MAX_ROWS:
        complaint = f"filling all buckets needs {count:,} rows; the limit is {MAX_ROWS:,}"
        if question.gap_fill_is_default:
            return rows, (f"empty buckets are left out: {complaint}",)
        raise RefusedError(
            f"{complaint}: use gap_fill none, a coarser grain, a shorter range or a filter",
            field="gap_fill",
            reason=ErrorReason.TOO_MANY_ROWS,
            rows=count,
            limit=MAX_ROWS,
        )
    grid = pl.DataFrame({BUCKET: pl.Series(range(len(question.buckets)), dtype=pl.Int32)})
    if tuples is not None:
        grid = grid.join(tuples, how="cross")
    filled = grid.join(rows, on=keys, how="left", nulls_equal=True)
    return filled.with_columns(
        pl.col(_HAPPENED).fill_null(value=False),
        *(
            pl.col(name).fill_null(0)
            for name, kind in rows.schema.items()
            if name not in keys and name != _ROW and kind.is_numeric()
        ),
    ), ()


def _ordered(question: Question, rows: pl.DataFrame) -> pl.DataFrame:
    fields = {TIME: pl.col(BUCKET)}
    fields |= {
        dimension: pl.col(name)
        for dimension, name in zip(question.dimensions, dimension_columns(question), strict=True)
    }
    nulls = question.gap_fill is GapFill.NULL
    fields |= {metric.id: _value(metric, nulls) for metric in question.metrics}
    if not question.order_by:
        return rows.sort(BUCKET, *dimension_columns(question))
    return rows.sort(
        [fields[order.field] for order in question.order_by],
        descending=[order.descending for order in question.order_by],
        nulls_last=True,
        maintain_order=True,
    )


def _value(metric: Metric, nulls: bool) -> pl.Expr:
    """Return the sort value of a metric; null where the cell is empty."""
    parts = [pl.col(_ESTIMATE if part == VISITORS else part) for part in metric.parts]
    value = parts[0]
    if metric.kind is Kind.DIFFERENCE:
        value = parts[0] - parts[1]
    if metric.kind is Kind.RATIO:
        value = pl.when(parts[1] != 0).then(parts[0] / parts[1])
    return pl.when(pl.col(_HAPPENED)).then(value) if nulls else value


def _with_folded_mark(column: Column, parts: Parts) -> Column:
    """Return the column with its final exactness.

    If a part has rows under OTHER, the exactness becomes TEXTS_FOLDED, unless the exactness is PARTIAL or
    VISITS_PROVISIONAL.
    """
    is_folded = any(part in parts.folded for part in column.metric.parts)
    if not is_folded or column.exactness in (Exactness.PARTIAL, Exactness.VISITS_PROVISIONAL):
        return column
    return replace(column, exactness=Exactness.TEXTS_FOLDED)


def _column(metric: Metric, rows: pl.DataFrame, sketches: Thetas, parts: Parts, is_empty: BoolArray) -> Column:
    if metric.kind is Kind.UNION:
        return _visitors_column(metric, rows, sketches, parts, is_empty)
    sums = [rows[part] for part in metric.parts]
    numerators, denominators = _integers(sums[0]), None
    scale = MICROS if metric.unit is Unit.CURRENCY else 1
    if metric.kind is Kind.DIFFERENCE:
        numerators = _integers(sums[0] - sums[1])
    if metric.kind is Kind.RATIO:
        denominators = sums[1].to_numpy()
        is_empty = is_empty | (denominators == 0)
    divisors = np.full(len(rows), scale) if denominators is None else denominators * scale
    values = np.full(len(rows), np.nan)
    np.divide(numerators.astype(np.float64), divisors, out=values, where=~is_empty)
    is_partial = any(part in parts.missing for part in metric.parts)
    exactness = Exactness.VISITS_PROVISIONAL if metric.id in parts.of_waiting_visits else Exactness.EXACT
    if is_partial:  # PARTIAL has priority, because settlement does not end PARTIAL
        exactness = Exactness.PARTIAL
    return Column(metric, exactness, numerators, denominators, values, is_empty)


def _integers(sums: pl.Series) -> I64Array | npt.NDArray[np.object_]:
    """Return sums as int64, or as Python integers when a sum does not fit."""
    narrow = fits(sums)
    return np.array(sums.to_list(), np.object_) if narrow is None else narrow.to_numpy()


def _visitors_column(metric: Metric, rows: pl.DataFrame, sketches: Thetas, parts: Parts, is_empty: BoolArray) -> Column:
    estimates = rows[_ESTIMATE].to_numpy()
    # A row that fills a gap has no sketch, and its count is exactly 0.
    sketch_rows = rows[_ROW].fill_null(-1).to_numpy()
    is_exact = np.ones(len(rows), np.bool_)
    if len(sketches):
        is_exact = (sketch_rows < 0) | sketches.exact[sketch_rows]
    lower, upper = np.full(len(rows), np.nan), np.full(len(rows), np.nan)
    error = 0.0
    for row in np.flatnonzero(~is_exact).tolist():
        sketch = sketches[int(sketch_rows[row])]
        lower[row], upper[row] = sketch.lower_bound(), sketch.upper_bound()
        error = max(error, sketch.rse)
    exactness = Exactness.EXACT if is_exact.all() else Exactness.SKETCH
    if metric.id in parts.of_waiting_visits:
        exactness = Exactness.VISITS_PROVISIONAL
    return Column(
        metric=metric,
        exactness=Exactness.SKETCH_PROVISIONAL if parts.has_moved_visitors else exactness,
        numerators=np.where(is_exact, estimates, 0).astype(np.int64),
        denominators=None,
        values=np.where(is_empty, np.nan, estimates),
        is_empty=is_empty,
        lower=lower,
        upper=upper,
        relative_standard_error=error,
    )
