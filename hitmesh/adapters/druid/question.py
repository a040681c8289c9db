"""Build native Druid queries from metric-store questions, with pydruid (step 8 of the journey).

Decides which rows exist for a question, each cell's bucket, and how filters translate. Values travel as JSON, never as
text in a query language, so injection is impossible. Sends nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any, Final, assert_never

from pydruid.query import QueryBuilder
from pydruid.utils.aggregators import doublesum, longsum

from hitmesh.adapters.druid.intervals import iso
from hitmesh.adapters.druid.specs import UNION_SIZE
from hitmesh.adapters.shared.druid_columns import ABOUT, HIGH, PRESENCE
from hitmesh.model.filters import And, Comparison, Filter, Not, Operator, Or, null_name
from hitmesh.model.queries import MetricQuery
from hitmesh.model.sites import SiteDay
from hitmesh.model.zones import DAY_MS

Json = dict[str, Any]
Matches = Callable[[Comparison], Sequence[str]]
"""The values of a dimension that match a pattern."""

MAX_ROWS: Final = 300_000
BUCKET: Final = "bucket"
_ALL: Final = "all"
_TRUE: Final[Json] = {"type": "true"}
_FALSE: Final[Json] = {"type": "false"}


def rows_query(question: MetricQuery, data_source: str, matches: Matches) -> Json:
    """Return the query for groups: bucket, dimensions, `sum_columns`, sketches, presence, as arrays in this order.

    Args:
        question: the question.
        data_source: the data source for the question's rows.
        matches: looks up a pattern's matches.
    """
    names = [question.columns.get(dimension, dimension) for dimension in question.dimensions]
    dimensions = [_column(name, f"d{index}") for index, name in enumerate(names)]
    return _built(
        {
            "datasource": data_source,
            "granularity": _ALL,
            "intervals": [interval(question)],
            "dimensions": [{**_column(BUCKET, BUCKET), "outputType": "LONG"}, *dimensions],
            "aggregations": _aggregations(question),
            "virtualColumns": [_bucket(question)],
            "limit_spec": {"type": "default", "limit": MAX_ROWS + 1},
        },
        filter=exists(question, matches),
    )


def values_query(question: MetricQuery, data_source: str, column: str, matches: Matches, limit: int) -> Json:
    """Return the query for the first values of a column in the question's rows; null sorts first."""
    # Compared as UTF-8, which is code-point order.
    ascending = {"dimension": "value", "direction": "ascending", "dimensionOrder": "lexicographic"}
    return _built(
        {
            "datasource": data_source,
            "granularity": _ALL,
            "intervals": [interval(question)],
            "dimensions": [_column(column, "value")],
            "aggregations": {PRESENCE: longsum(PRESENCE)},
            "limit_spec": {"type": "default", "limit": limit, "columns": [ascending]},
        },
        filter=exists(question, matches),
        having={"type": "greaterThan", "aggregation": PRESENCE, "value": 0},
    )


def _built(arguments: Json, **more: Json) -> Json:
    """Build a query with pydruid. Its filters lack the types that distinguish null, so `more` adds ours."""
    query: Json = QueryBuilder().groupby(arguments).query_dict
    return {**query, **more}


def sum_columns(question: MetricQuery) -> list[str]:
    """Return the columns to sum for the question's measures, in answer order; amounts take three columns."""
    amounts = [name for name in question.measures if name in HIGH]
    return [*question.measures, *(HIGH[name] for name in amounts), *(ABOUT[name] for name in amounts)]


def _aggregations(question: MetricQuery) -> Json:
    doubles = {ABOUT[name]: name for name in question.measures if name in ABOUT}
    sums = {name: doublesum(doubles[name]) if name in doubles else longsum(name) for name in sum_columns(question)}
    sketches = {
        name: {"type": "thetaSketch", "fieldName": name, "size": UNION_SIZE, "shouldFinalize": False}
        for name in question.sketches
    }
    return {**sums, **sketches, PRESENCE: longsum(PRESENCE)}


def _column(name: str, output: str) -> Json:
    return {"type": "default", "dimension": name, "outputName": output}


def _expression(name: str, expression: str) -> Json:
    return {"type": "expression", "name": name, "expression": expression, "outputType": "LONG"}


def interval(question: MetricQuery) -> str:
    """Return the time range of the question's rows."""
    first = max(question.start, question.bucket_starts[0])
    return f"{iso(first)}/{iso(max(first, question.end))}"


def _bucket(question: MetricQuery) -> Json:
    """Return a cell's bucket index: by division within runs of equal buckets, run by run."""
    starts, time = question.bucket_starts, "__time"
    pieces = _pieces(starts)
    cases = [
        (None if end is None else starts[end], f"{first} + ({time} - {starts[first]}) / {width}")
        for first, end, width in pieces
    ]
    expression = cases[-1][1]
    if len(cases) > 1:
        conditions = ", ".join(f"{time} < {end}, {index}" for end, index in cases[:-1])
        expression = f"case_searched({conditions}, {cases[-1][1]})"
    return _expression(BUCKET, expression)


def _pieces(starts: Sequence[int]) -> list[tuple[int, int | None, int]]:
    """Return runs of equally wide buckets as (first, end or None for the last, width in ms)."""
    widths = [end - start for start, end in pairwise(starts)]
    pieces: list[tuple[int, int | None, int]] = []
    first = 0
    for width, run in groupby(widths):
        count = len(list(run))
        pieces.append((first, first + count, width))
        first += count
    # The last bucket ends with the question, and so takes everything after its start.
    return [*pieces, (first, None, 1 << 62)]


def exists(question: MetricQuery, matches: Matches) -> Json:
    """Return the filter for rows that exist for the question."""
    parts = [_of_generations(question.generations)]
    if not question.include_excluded:
        parts.append(_number("excluded", 0))
    if question.filter is not None:
        parts.append(_condition(question, question.filter, matches))
    return _and(parts)


def _of_generations(generations: Mapping[SiteDay, int]) -> Json:
    """Return the filter for each site-day's requested generation; runs of days become time ranges.

    Sites with equal runs share a condition, so that a question about many sites stays short.
    """
    days: dict[tuple[str, int], list[int]] = defaultdict(list)
    for (site, day), generation in sorted(generations.items()):
        days[site, generation].append(day)
    sites: dict[tuple[int, tuple[tuple[int, int], ...]], list[str]] = defaultdict(list)
    for (site, generation), generation_days in days.items():
        sites[generation, _runs(generation_days)].append(site)
    return _or(
        [
            _and([_any_of("site", alike), _number("generation", generation), _or([_range(*run) for run in runs])])
            for (generation, runs), alike in sites.items()
        ]
    )


def _runs(days: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Return ascending days as ranges [first, end)."""
    runs: list[tuple[int, int]] = []
    for day in days:
        if runs and runs[-1][1] == day:
            runs[-1] = (runs[-1][0], day + 1)
        else:
            runs.append((day, day + 1))
    return tuple(runs)


def _range(first_day: int, end_day: int) -> Json:
    return {
        "type": "range",
        "column": "__time",
        "matchValueType": "LONG",
        "lower": first_day * DAY_MS,
        "upper": end_day * DAY_MS,
        "upperOpen": True,
    }


def _condition(question: MetricQuery, tree: Filter, matches: Matches) -> Json:
    match tree:
        case Comparison():
            return _comparison(question, tree, matches)
        case Not(part):
            return {"type": "not", "field": _condition(question, part, matches)}
        case And(parts):
            return _and([_condition(question, part, matches) for part in parts])
        case Or(parts):
            return _or([_condition(question, part, matches) for part in parts])
        case _:
            assert_never(tree)


def _comparison(question: MetricQuery, comparison: Comparison, matches: Matches) -> Json:
    column = question.columns.get(comparison.dimension, comparison.dimension)
    null = null_name(comparison.dimension)
    match comparison.operator:
        case Operator.EQ | Operator.IN:
            return _one_of(column, comparison.values, null)
        case Operator.NE:
            return {"type": "not", "field": _one_of(column, comparison.values, null)}
        case Operator.RE2:
            # Druid's patterns are Java's: RE2 itself finds the matches, among the existing values.
            return _one_of(column, matches(comparison), null)
        case _:
            assert_never(comparison.operator)


def _one_of(column: str, values: Sequence[str], null: str) -> Json:
    """Return a filter for a column with one of these values; the text `null` stands for null."""
    nothing: list[Json] = [{"type": "null", "column": column}] if null in values else []
    return _or([*nothing, _any_of(column, values)] if values else nothing)


def _any_of(column: str, values: Sequence[str]) -> Json:
    """Return a filter for a column with one of these texts. For null it is false, where Druid says `unknown`."""
    equals = {"type": "equals", "column": column, "matchValueType": "STRING", "matchValue": values[0]}
    among = {"type": "in", "dimension": column, "values": list(values)}
    return {"type": "istrue", "field": equals if len(values) == 1 else among}


def _number(column: str, value: int) -> Json:
    return {"type": "equals", "column": column, "matchValueType": "LONG", "matchValue": value}


def _and(parts: Sequence[Json]) -> Json:
    return parts[0] if len(parts) == 1 else ({"type": "and", "fields": list(parts)} if parts else _TRUE)


def _or(parts: Sequence[Json]) -> Json:
    return parts[0] if len(parts) == 1 else ({"type": "or", "fields": list(parts)} if parts else _FALSE)
