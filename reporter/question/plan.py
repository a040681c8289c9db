"""Plan a question as frozen queries to the metric store (journey step 7).

A question needs a query for each row source (traffic, visits), and separate queries for:

- amounts of money, and the order counts that divide amounts. Queries for amounts group by currency, so that the answer
  can leave out other currencies and name them (rule M3);
- exits, if the question uses page_path. For exits, page_path is the exit page; for other visit metrics, page_path is
  the landing page.

If a visit's dimension values change, the visitor remains in the sketch for the old values (rule S8). A query for
visitors with dimensions or a filter therefore also counts the visitors of changed visits. If the query has neither
dimensions nor a filter, a visit's old and new values belong to the same row, so the sketch is correct.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from hitmesh.model.filters import Comparison, Filter, Operator, Or
from hitmesh.model.queries import MetricQuery
from hitmesh.model.rows.rollup_rows import OTHER, TEXT_DIMENSIONS, RowSource
from hitmesh.model.rows.stream_columns import MOVED_VISITORS
from hitmesh.model.sites import SiteDay
from reporter.question.catalogue import PARTS, VISITORS, column_of
from reporter.question.check_filter import dimensions_in
from reporter.question.question import Question

CURRENCY: Final = "currency"
_COUNT: Final = {RowSource.TRAFFIC: "hits", RowSource.VISITS: "visits"}


@dataclass(frozen=True)
class Leg:
    """A query for some parts of a question's metrics, and the names of these parts.

    The query's result has the column names of settled rows. If `by_currency` is true, the last dimension is `currency`.
    """

    query: MetricQuery
    parts: tuple[str, ...]
    by_currency: bool = False


def legs(question: Question, generations: Mapping[SiteDay, int]) -> tuple[Leg, ...]:
    """Return the queries that together fetch every part of the question's metrics once.

    For an empty range, return no queries.

    Args:
        question: the question, with buckets.
        generations: the generation to read for each site-day in the range.
    """
    if question.start == question.end:
        return ()
    by_leg: dict[tuple[RowSource, bool, tuple[tuple[str, str], ...]], list[str]] = {}
    dimensions = {*question.dimensions, *dimensions_in(question.filter)}
    for name in _parts_of(question):
        part = PARTS[name]
        columns = tuple(
            (dimension, column)
            for dimension in sorted(dimensions)
            if (column := column_of(part, dimension)) != dimension
        )
        by_leg.setdefault((part.source, part.by_currency, columns), []).append(name)
    return tuple(
        Leg(_query(question, generations, source, names, by_currency, dict(columns)), tuple(names), by_currency)
        for (source, by_currency, columns), names in by_leg.items()
    )


def folded_leg(question: Question, leg: Leg) -> Leg | None:
    """Return a query that counts the rows of a leg (query) in which a filtered dimension is OTHER (rule S10).

    Rows under OTHER may contain values that match the filter. If the filter compares no text dimension, return None:
    only text dimensions have rows under OTHER.
    """
    names = [name for name in sorted(set(dimensions_in(question.filter))) if name in TEXT_DIMENSIONS]
    if not names:
        return None
    query = leg.query
    is_folded = Or(tuple(Comparison(name, Operator.EQ, (OTHER,)) for name in names))
    count = _COUNT[query.source]
    measures = tuple(dict.fromkeys((count, *(PARTS[part].column for part in leg.parts if part != VISITORS))))
    whole = replace(query, bucket_starts=query.bucket_starts[:1], dimensions=(), measures=measures, sketches=())
    return Leg(replace(whole, filter=is_folded), ())


def excluded_hits_leg(question: Question, generations: Mapping[SiteDay, int]) -> Leg | None:
    """Return the query for the number of hits that reports exclude by default, or None for an empty range.

    The query ignores the question's filter.
    """
    if question.start == question.end:
        return None
    whole = question.of_totals()
    names = ("excluded_hits",)
    return Leg(_query(whole, generations, RowSource.TRAFFIC, names, False, {}, unfiltered=True), names)


def _parts_of(question: Question) -> Iterable[str]:
    return dict.fromkeys(part for metric in question.metrics for part in metric.parts)


def _query(
    question: Question,
    generations: Mapping[SiteDay, int],
    source: RowSource,
    names: Sequence[str],
    by_currency: bool,
    columns: Mapping[str, str],
    unfiltered: bool = False,
) -> MetricQuery:
    tree: Filter | None = None if unfiltered else question.filter
    can_move = bool(question.dimensions) or tree is not None
    counted = [name for name in names if name != VISITORS]
    sketches = [name for name in names if name == VISITORS]
    moved = [MOVED_VISITORS] if sketches and can_move else []
    return MetricQuery(
        source=source,
        generations=generations,
        start=question.start,
        end=question.end,
        bucket_starts=tuple(question.buckets.starts.tolist()),
        dimensions=(*question.dimensions, *([CURRENCY] if by_currency else [])),
        measures=(*(PARTS[name].column for name in counted), *moved),
        sketches=tuple(sketches),
        filter=tree,
        include_excluded=question.include_excluded,
        columns=columns,
    )
