"""Build native Druid queries with pydruid, and define the types that pydruid lacks.

The library pydruid provides combined filters, sums, having clauses and the conversion of a query to JSON. In pydruid,
filters cannot distinguish null from the empty text, so this module defines `null`, `equals` and `istrue`. This module
also defines number ranges, constant filters, numeric dimensions, and an aggregation that returns a sketch. This module
sends no query.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from pydruid.query import QueryBuilder
from pydruid.utils.dimensions import DimensionSpec
from pydruid.utils.filters import Filter

Json = dict[str, Any]

TIME: Final = "__time"
GROUP_BY: Final = "groupBy"
SCAN: Final = "scan"


@dataclass(frozen=True, slots=True)
class Native:
    """A native query that has not been converted to JSON yet.

    Attributes:
        kind: the query type, GROUP_BY or SCAN.
        parts: the arguments for pydruid. Filters, aggregations, dimensions and having clauses are pydruid objects.
    """

    kind: str
    parts: Json

    def with_parts(self, **parts: Any) -> Native:
        """Return a copy of the query in which `parts` replace the existing parts with the same names."""
        return replace(self, parts={**self.parts, **parts})

    def json(self) -> Json:
        """Return the query as JSON for Druid.

        Raises:
            ValueError: a group-by query has a part that pydruid does not know.
        """
        builder = QueryBuilder()
        # pydruid's `scan` rejects the part `resultFormat`, so scans use `build_query`, which accepts all parts.
        built = builder.groupby(self.parts) if self.kind == GROUP_BY else builder.build_query(self.kind, self.parts)
        query: Json = built.query_dict
        return query


def group_by(**parts: Any) -> Native:
    """Return a group-by query whose groups are not split by time."""
    return Native(GROUP_BY, {"granularity": "all", **parts})


def scan(**parts: Any) -> Native:
    """Return a query for rows; each row in the answer is a list of values in the order of `columns`."""
    return Native(SCAN, {"resultFormat": "compactedList", **parts})


class Typed(Filter):  # type: ignore[misc]  # pydruid has no types
    """A filter whose type pydruid lacks."""

    def __init__(self, kind: str, **members: Any) -> None:
        super().__init__(type="and", fields=[])
        self.filter = {"filter": {"type": kind, **members}}


class LongDimension(DimensionSpec):  # type: ignore[misc]  # pydruid has no types
    """A dimension whose values in answers are whole numbers, not texts."""

    def build(self) -> Json:
        """Return the dimension as JSON."""
        return {**super().build(), "outputType": "LONG"}


TRUE: Final = Typed("true")
FALSE: Final = Typed("false")


def is_null(column: str) -> Filter:
    """Return a filter for rows without a value in a column."""
    return Typed("null", column=column)


def equals_text(column: str, value: str) -> Filter:
    """Return a filter for rows in which a column equals a text.

    In a row with null, the filter's result is unknown (SQL's three-valued logic).
    """
    return Typed("equals", column=column, matchValueType="STRING", matchValue=value)


def equals_number(column: str, value: int) -> Filter:
    """Return a filter for rows in which a column equals a number."""
    return Typed("equals", column=column, matchValueType="LONG", matchValue=value)


def in_range(column: str, lower: int, upper: int | None = None) -> Filter:
    """Return a filter for rows in which a column is in [lower, upper). If `upper` is None, there is no upper limit."""
    bounds = {"lower": lower} if upper is None else {"lower": lower, "upper": upper, "upperOpen": True}
    return Typed("range", column=column, matchValueType="LONG", **bounds)


def is_among(column: str, values: Sequence[str]) -> Filter:
    """Return a filter for rows in which a column equals any of these texts."""
    return Filter(type="in", dimension=column, values=list(values))


def is_true(part: Filter) -> Filter:
    """Return a filter that is true if `part` is true, and false if `part` is false or unknown (because of null)."""
    return Typed("istrue", field=Filter.build_filter(part))


def every(parts: Sequence[Filter]) -> Filter:
    """Return a filter that accepts a row if all parts accept the row; without parts, the filter accepts every row."""
    # pydruid's `&` would modify its left operand.
    return parts[0] if len(parts) == 1 else (Filter(type="and", fields=list(parts)) if parts else TRUE)


def some(parts: Sequence[Filter]) -> Filter:
    """Return a filter that accepts a row if any part accepts the row; without parts, the filter accepts no row."""
    return parts[0] if len(parts) == 1 else (Filter(type="or", fields=list(parts)) if parts else FALSE)


def raw_sketch(column: str, size: int) -> Json:
    """Return the aggregation whose result is the union of sketches; pydruid's aggregation gives an estimate."""
    return {"type": "thetaSketch", "fieldName": column, "size": size, "shouldFinalize": False}
