"""Compute the answer to a question from rows in memory, without a query engine (step 8 of the journey).

This module filters rows, assigns the rows to buckets, adds up their measures and unites their sketches. Callers must
pass only rows from the requested generations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import numpy as np
import polars as pl

from hitmesh.adapters.shared.work_limits import MAX_GROUPS, MAX_VALUES, refuse_groups, refuse_values
from hitmesh.model.amounts import sums
from hitmesh.model.checkpoints import Checkpoint, unwatched
from hitmesh.model.errors import RefusedError
from hitmesh.model.filters import And, Comparison, Filter, Not, Operator, Or, comparisons_in, null_name
from hitmesh.model.patterns import matching_values
from hitmesh.model.queries import MetricQuery
from hitmesh.model.rows.expressions import as_types
from hitmesh.model.rows.rollup_rows import ROW_COLUMNS, RowSource, sum_type
from hitmesh.model.rows.stream_columns import MOVED_VISITORS, STREAM_COLUMNS
from hitmesh.model.sketches.unions import merge_by_group

_BUCKET = "bucket"


def as_stored(rows: pl.DataFrame, source: RowSource) -> pl.DataFrame:
    """Return the rows with exactly the columns of `source`, in the schema's order and types."""
    return rows.select(as_types(ROW_COLUMNS[source]))


def needed_columns(question: MetricQuery, dimensions: Sequence[str]) -> list[str]:
    """Return the stored columns that the question reads, without repeats.

    Raises:
        RefusedError: the question needs a column that rows of this source do not have.
    """
    all_dimensions = [*dimensions, *(comparison.dimension for comparison in comparisons_in(question.filter))]
    columns = ["cell", "excluded", *(_column(question, dimension) for dimension in all_dimensions)]
    columns += [*question.measures, *question.sketches]
    known = STREAM_COLUMNS[question.source]
    for column in columns:
        if column not in known:
            raise RefusedError(
                f"{question.source} rows have no column {column!r}; columns are {', '.join(known)}",
                field="dimensions",
                source=question.source,
                value=column,
                known=", ".join(known),
            )
    return list(dict.fromkeys(columns))


def settled_columns(columns: Sequence[str]) -> list[str]:
    """Return the needed columns without MOVED_VISITORS, because only the stream's rows have this column."""
    return [column for column in columns if column != MOVED_VISITORS]


def rows_with(parts: Sequence[pl.DataFrame], source: RowSource, columns: Sequence[str]) -> pl.DataFrame:
    """Return all rows with exactly `columns`. Settled rows lack the column MOVED_VISITORS, and get the value 0."""
    schema = {column: STREAM_COLUMNS[source][column] for column in columns}
    if not parts:
        return pl.DataFrame(schema=schema)
    nobody = pl.lit(0, pl.Int64()).alias(MOVED_VISITORS)
    return pl.concat(
        [(part if schema.keys() <= set(part.columns) else part.with_columns(nobody)).select(columns) for part in parts]
    )


def answer(
    rows: pl.DataFrame,
    question: MetricQuery,
    checkpoint: Checkpoint = unwatched,
    *,
    max_values: int = MAX_VALUES,
    max_groups: int = MAX_GROUPS,
) -> pl.DataFrame:
    """Return bucket, dimensions, sums and united sketches of the matching rows, one row per group.

    A group's sketch is null if no row in the group has a sketch.

    Args:
        rows: rows from the requested generations, with `needed_columns`, in any order.
        question: selects the rows that count, by range, filter and `include_excluded`.
        checkpoint: called between steps.
        max_values: maximum number of values that a question may read: rows × (columns + comparisons).
        max_groups: limit on rows in the answer.

    Raises:
        RefusedError: QUESTION_TOO_DEAR, TOO_MANY_ROWS or FILTER_TOO_DEAR.
    """
    refuse_values(len(rows), rows.width, len(comparisons_in(question.filter)), max_values)
    kept = matching(rows, question, checkpoint)
    keys = [_BUCKET, *question.dimensions]
    keyed = kept.select(
        _buckets(kept["cell"], question.bucket_starts),
        *(pl.col(_column(question, dimension)).alias(dimension) for dimension in question.dimensions),
        *question.measures,
        *question.sketches,
    )
    sketches = [pl.col(sketch) for sketch in question.sketches]
    if len(keyed) == 0:
        return keyed.cast({measure: sum_type(measure) for measure in question.measures})
    checkpoint()
    groups = keyed.group_by(keys).agg(*sums(question.measures), *sketches)
    refuse_groups(len(groups), max_groups)
    checkpoint()
    return groups.with_columns([united(groups[sketch]) for sketch in question.sketches])


def matching(rows: pl.DataFrame, question: MetricQuery, checkpoint: Checkpoint = unwatched) -> pl.DataFrame:
    """Return the rows that are inside the question's range and pass its filter.

    Raises:
        RefusedError: a pattern is not valid RE2, or matching all patterns against all values would cost too much.
    """
    first, end = max(question.start, question.bucket_starts[0]), question.end
    holds = (pl.col("cell") >= first) & (pl.col("cell") < end)
    if not question.include_excluded:
        holds &= ~pl.col("excluded")
    kept = rows.filter(holds)
    if question.filter is None:
        return kept
    return kept.filter(_Conditions(kept, question, checkpoint).of(question.filter))


def _buckets(cells: pl.Series, starts: tuple[int, ...]) -> pl.Series:
    """Return the bucket index of each cell; no cell may lie before the start of the first bucket."""
    if len(starts) == 1:
        return pl.repeat(0, len(cells), dtype=pl.Int32, eager=True).alias(_BUCKET)
    found = np.searchsorted(np.array(starts, np.int64), cells.to_numpy(), side="right") - 1
    return pl.Series(_BUCKET, found.astype(np.int32))


def united(parts: pl.Series) -> pl.Series:
    """Return the union of the sketches in each list.

    A list without sketches gives null; a single sketch is unchanged.
    """
    flat = parts.explode(empty_as_null=False)
    group_ids = np.repeat(np.arange(len(parts)), parts.list.len().to_numpy())
    if flat.null_count():
        group_ids = group_ids[flat.is_not_null().to_numpy()]
        flat = flat.drop_nulls()
    counts = np.bincount(group_ids, minlength=len(parts))
    several = np.flatnonzero(counts > 1)
    single = counts[group_ids] == 1
    ranks = np.cumsum(counts > 1) - 1
    if not single.any():
        merged = merge_by_group(flat, ranks[group_ids], len(several))
        united = pl.Series(merged.to_arrow(), dtype=pl.Binary)
    else:
        merged = merge_by_group(flat.filter(pl.Series(~single)), ranks[group_ids[~single]], len(several))
        united = pl.concat([flat.filter(pl.Series(single)), pl.Series(merged.to_arrow(), dtype=pl.Binary)])
    row_of_group = np.full(len(parts), len(united))
    row_of_group[np.concatenate([group_ids[single], several])] = np.arange(len(united))
    united = united.extend(pl.Series([None], dtype=pl.Binary))
    return united.gather(row_of_group).alias(parts.name)


def _column(question: MetricQuery, dimension: str) -> str:
    return question.columns.get(dimension, dimension)


class _Conditions:
    """Evaluates a filter, one comparison after another, with a checkpoint before each comparison."""

    def __init__(self, rows: pl.DataFrame, question: MetricQuery, checkpoint: Checkpoint) -> None:
        self._rows = rows
        self._question = question
        self._checkpoint = checkpoint
        self._texts: dict[str, pl.Series] = {}
        self._matches: dict[str, dict[str, list[str]]] = {}

    def of(self, tree: Filter) -> pl.Series:
        """Return, for each row, whether the row passes this part of the filter."""
        match tree:
            case Comparison():
                self._checkpoint()
                return self._compared(tree)
            case Not(part):
                return ~self.of(part)
            case And(parts):
                held = pl.repeat(True, len(self._rows), dtype=pl.Boolean, eager=True)
                for part in parts:
                    held &= self.of(part)
                return held
            case Or(parts):
                held = pl.repeat(False, len(self._rows), dtype=pl.Boolean, eager=True)
                for part in parts:
                    held |= self.of(part)
                return held
            case _:
                assert_never(tree)

    def _compared(self, comparison: Comparison) -> pl.Series:
        texts = self._text(comparison.dimension)
        match comparison.operator:
            case Operator.EQ:
                return texts == comparison.values[0]
            case Operator.NE:
                return texts != comparison.values[0]
            case Operator.IN:
                return texts.is_in(list(comparison.values))
            case Operator.RE2:
                return texts.is_in(self._matching(comparison.dimension)[comparison.values[0]])
            case _:
                assert_never(comparison.operator)

    def _text(self, dimension: str) -> pl.Series:
        """Return the dimension's values as text; null becomes the text from `null_name`."""
        if dimension not in self._texts:
            self._texts[dimension] = self._rows[_column(self._question, dimension)].fill_null(null_name(dimension))
        return self._texts[dimension]

    def _matching(self, dimension: str) -> dict[str, list[str]]:
        r"""Return the values that each of the dimension's patterns matches; all patterns are evaluated together.

        Google RE2 matches each distinct value once. Polars' own regex engine is not used, because its \d, \w and \b
        also match Unicode characters. In RE2, \d, \w and \b match only ASCII characters.
        """
        if dimension not in self._matches:
            patterns = patterns_of(self._question.filter, dimension)
            distinct = self._text(dimension).unique().to_list()
            self._matches[dimension] = matching_values(patterns, distinct, self._checkpoint)
        return self._matches[dimension]


def patterns_of(tree: Filter | None, dimension: str) -> list[str]:
    """Return the RE2 patterns that a filter applies to a dimension."""
    return [
        comparison.values[0]
        for comparison in comparisons_in(tree)
        if comparison.dimension == dimension and comparison.operator is Operator.RE2
    ]
