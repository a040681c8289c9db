"""Build native Druid queries from metric-store questions, with pydruid (step 8 of the journey).

A query has three parts: the selection of rows, an expression for the bucket of a cell, and the question's filter.
Values are JSON values, never part of a query language's text, so injection is impossible. This module sends no query.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby, pairwise
from typing import Final, assert_never

from pydruid.utils.aggregators import doublesum, longsum
from pydruid.utils.dimensions import DimensionSpec
from pydruid.utils.filters import Filter as Condition
from pydruid.utils.having import Aggregation

from hitmesh.adapters.druid.native import (
    TIME,
    Json,
    LongDimension,
    Native,
    equals_number,
    equals_text,
    every,
    group_by,
    in_range,
    is_among,
    is_null,
    is_true,
    raw_sketch,
    some,
)
from hitmesh.adapters.druid.specs import UNION_SIZE
from hitmesh.adapters.shared.druid_columns import ABOUT, HIGH, PRESENCE
from hitmesh.model.days import iso_second
from hitmesh.model.filters import And, Comparison, Filter, Not, Operator, Or, null_name
from hitmesh.model.queries import MetricQuery
from hitmesh.model.sites import SiteDay
from hitmesh.model.zones import DAY_MS

Matches = Callable[[Comparison], Sequence[str]]
"""A function that returns the values which match a comparison's pattern."""

MAX_ROWS: Final = 300_000
BUCKET: Final = "bucket"
_UNCACHED: Final = {
    "useCache": False,
    "populateCache": False,
    "useResultLevelCache": False,
    "populateResultLevelCache": False,
}


def rows_query(question: MetricQuery, data_source: str, matches: Matches) -> Native:
    """Return the group-by query.

    Each group in the answer is an array of bucket, dimensions, `sum_columns`, sketches and presence.

    Args:
        question: the question.
        data_source: the data source for the question's rows.
        matches: returns the values that match a comparison's pattern.
    """
    names = [question.columns.get(dimension, dimension) for dimension in question.dimensions]
    dimensions = [DimensionSpec(name, f"d{index}") for index, name in enumerate(names)]
    return group_by(
        datasource=data_source,
        intervals=[interval(question)],
        dimensions=[LongDimension(BUCKET, BUCKET), *dimensions],
        aggregations=_aggregations(question),
        virtualColumns=[_bucket(question)],
        filter=exists(question, matches),
        limit_spec=limit_spec(MAX_ROWS + 1),
        **({"context": _UNCACHED} if question.fresh else {}),
    )


def values_query(question: MetricQuery, data_source: str, column: str, matches: Matches, limit: int) -> Native:
    """Return the query for the first `limit` values of a column, in ascending order; null sorts first."""
    # Druid compares UTF-8 bytes, so the values are in the order of their code points.
    ascending = {"dimension": "value", "direction": "ascending", "dimensionOrder": "lexicographic"}
    return group_by(
        datasource=data_source,
        intervals=[interval(question)],
        dimensions=[DimensionSpec(column, "value")],
        aggregations={PRESENCE: longsum(PRESENCE)},
        filter=exists(question, matches),
        having=Aggregation(PRESENCE) > 0,
        limit_spec={**limit_spec(limit), "columns": [ascending]},
    )


def limit_spec(limit: int) -> Json:
    """Return the part of a query that limits the number of groups."""
    return {"type": "default", "limit": limit}


def sum_columns(question: MetricQuery) -> list[str]:
    """Return the columns to sum for the question's measures, in the answer's order; an amount has three columns."""
    amounts = [name for name in question.measures if name in HIGH]
    return [*question.measures, *(HIGH[name] for name in amounts), *(ABOUT[name] for name in amounts)]


def _aggregations(question: MetricQuery) -> Json:
    doubles = {ABOUT[name]: name for name in question.measures if name in ABOUT}
    sums = {name: doublesum(doubles[name]) if name in doubles else longsum(name) for name in sum_columns(question)}
    sketches = {name: raw_sketch(name, UNION_SIZE) for name in question.sketches}
    return {**sums, **sketches, PRESENCE: longsum(PRESENCE)}


def interval(question: MetricQuery) -> str:
    """Return the time range of the question's rows."""
    first = max(question.start, question.bucket_starts[0])
    return f"{iso_second(first)}/{iso_second(max(first, question.end))}"


def _bucket(question: MetricQuery) -> Json:
    """Return the expression that computes the bucket's index from a row's time.

    The expression has a division for each run of equally wide buckets.
    """
    starts = question.bucket_starts
    pieces = _pieces(starts)
    cases = [
        (None if end is None else starts[end], f"{first} + ({TIME} - {starts[first]}) / {width}")
        for first, end, width in pieces
    ]
    expression = cases[-1][1]
    if len(cases) > 1:
        conditions = ", ".join(f"{TIME} < {end}, {index}" for end, index in cases[:-1])
        expression = f"case_searched({conditions}, {cases[-1][1]})"
    return {"type": "expression", "name": BUCKET, "expression": expression, "outputType": "LONG"}


def _pieces(starts: Sequence[int]) -> list[tuple[int, int | None, int]]:
    """Return each run of equally wide buckets as (first bucket, end bucket, width in ms); the last run has no end."""
    widths = [end - start for start, end in pairwise(starts)]
    pieces: list[tuple[int, int | None, int]] = []
    first = 0
    for width, run in groupby(widths):
        count = len(list(run))
        pieces.append((first, first + count, width))
        first += count
    # The last bucket gets no end, because the query's interval contains no rows after the question's range. The
    # bucket's width exceeds every possible range, so that all remaining rows fall into this bucket.
    return [*pieces, (first, None, 1 << 62)]


def exists(question: MetricQuery, matches: Matches) -> Condition:
    """Return the filter that selects the question's rows."""
    parts = [_of_generations(question.generations)]
    if not question.include_excluded:
        parts.append(equals_number("excluded", 0))
    if question.filter is not None:
        parts.append(_condition(question, question.filter, matches))
    return every(parts)


def _of_generations(generations: Mapping[SiteDay, int]) -> Condition:
    """Return the filter for the requested generation of each site-day; consecutive days become a time range.

    Sites with the same days and generations share a condition, so that a query about many sites stays short.
    """
    days: dict[tuple[str, int], list[int]] = defaultdict(list)
    for (site, day), generation in sorted(generations.items()):
        days[site, generation].append(day)
    sites: dict[tuple[int, tuple[tuple[int, int], ...]], list[str]] = defaultdict(list)
    for (site, generation), generation_days in days.items():
        sites[generation, _runs(generation_days)].append(site)
    return some(
        [
            every([_any_of("site", alike), equals_number("generation", generation), _in_days(runs)])
            for (generation, runs), alike in sites.items()
        ]
    )


def _runs(days: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Return the ranges [first, end) of consecutive days; `days` must be ascending."""
    runs: list[tuple[int, int]] = []
    for day in days:
        if runs and runs[-1][1] == day:
            runs[-1] = (runs[-1][0], day + 1)
        else:
            runs.append((day, day + 1))
    return tuple(runs)


def _in_days(runs: Sequence[tuple[int, int]]) -> Condition:
    return some([in_range(TIME, first_day * DAY_MS, end_day * DAY_MS) for first_day, end_day in runs])


def _condition(question: MetricQuery, tree: Filter, matches: Matches) -> Condition:
    match tree:
        case Comparison():
            return _comparison(question, tree, matches)
        case Not(part):
            return ~_condition(question, part, matches)
        case And(parts):
            return every([_condition(question, part, matches) for part in parts])
        case Or(parts):
            return some([_condition(question, part, matches) for part in parts])
        case _:
            assert_never(tree)


def _comparison(question: MetricQuery, comparison: Comparison, matches: Matches) -> Condition:
    column = question.columns.get(comparison.dimension, comparison.dimension)
    null = null_name(comparison.dimension)
    match comparison.operator:
        case Operator.EQ | Operator.IN:
            return _one_of(column, comparison.values, null)
        case Operator.NE:
            return ~_one_of(column, comparison.values, null)
        case Operator.RE2:
            # Druid's own filters use Java's pattern syntax, not RE2's. This process therefore matches the pattern with
            # RE2, and the query lists the matching values.
            return _one_of(column, matches(comparison), null)
        case _:
            assert_never(comparison.operator)


def _one_of(column: str, values: Sequence[str], null: str) -> Condition:
    """Return a filter for rows in which a column has any of these values; the text in `null` means null."""
    nothing = [is_null(column)] if null in values else []
    return some([*nothing, _any_of(column, values)] if values else nothing)


def _any_of(column: str, values: Sequence[str]) -> Condition:
    """Return a filter for rows in which a column has any of these texts. The filter is false in a row with null."""
    return is_true(equals_text(column, values[0]) if len(values) == 1 else is_among(column, values))
