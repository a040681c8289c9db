"""Find the values of a dimension for which sums differ between two generations.

For each row source, the metric store is queried twice: with the old generations and with the new generations. As in
reports, a dimension can select different columns for different metrics. For example, `page_path` is the landing page
for visits, and the exit page for exits.

This module loads Polars, so it is imported only when a call compares rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import polars as pl

from control.rpc.reprocessing.compared_rows import Generations, compare, most_changed_keys
from control.rpc.reprocessing.differences import Sums
from hitmesh.model.checkpoints import Checkpoint
from hitmesh.model.errors import RefusedError
from hitmesh.model.filters import null_name
from hitmesh.model.queries import MetricQuery
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.rows.rollup_rows import (
    AMOUNT_SUM,
    TRAFFIC_DIMENSIONS,
    TRAFFIC_MEASURES,
    VISITS_DIMENSIONS,
    VISITS_MEASURES,
    RowSource,
)
from hitmesh.model.similar_names import nearest, similar
from hitmesh.model.sites import SiteDay
from hitmesh.model.zones import DAY_MS
from hitmesh.ports import MetricStore

PAGE: Final = "page_path"
EXIT_PAGE: Final = "exit_page"
DIMENSIONS: Final = tuple(dict.fromkeys((*TRAFFIC_DIMENSIONS, *VISITS_DIMENSIONS)))
_ITEM_DIMENSIONS: Final = frozenset({"product", "category", "brand"})
_ITEM_MEASURES: Final = ("items_sold", "item_revenue", "product_views", "cart_adds")
_KEYS: Final = ("value",)
_EXITS: Final = ("exits",)
# Refused hits have no dimension except the site.
_HIT_MEASURES: Final = tuple(measure for measure in TRAFFIC_MEASURES if measure != "rejected_hits")
_STARTS: Final = tuple(measure for measure in VISITS_MEASURES if measure not in _EXITS)


class Leg(NamedTuple):
    """Measures of a row source, and the column that the dimension selects for these measures."""

    source: RowSource
    column: str
    measures: tuple[str, ...]


class ChangedValues(NamedTuple):
    """The most changed values of a dimension, the most changed first.

    Attributes:
        ranked_by: the metric that ranks the values; empty if no value changed.
        values: each value with its changed metrics.
        total: the number of values with a difference.
    """

    ranked_by: str
    values: Sequence[tuple[str, Mapping[str, Sums]]]
    total: int


def legs(dimension: str) -> list[Leg]:
    """Return the queries (legs) for a question about a dimension.

    Raises:
        RefusedError: the dimension does not exist (UNKNOWN_DIMENSION).
    """
    if dimension not in DIMENSIONS:
        raise RefusedError(
            f"unknown dimension {dimension[:64]!r}: {nearest(dimension, DIMENSIONS)}",
            field="dimension",
            reason=ErrorReason.UNKNOWN_DIMENSION,
            value=dimension,
            similar=similar(dimension, DIMENSIONS),
        )
    if dimension in _ITEM_DIMENSIONS:
        return [Leg(RowSource.TRAFFIC, dimension, _ITEM_MEASURES)]
    if dimension == EXIT_PAGE:
        return [Leg(RowSource.VISITS, EXIT_PAGE, _EXITS)]
    found = [Leg(RowSource.TRAFFIC, dimension, _HIT_MEASURES)] if dimension in TRAFFIC_DIMENSIONS else []
    if dimension == PAGE:
        return [*found, Leg(RowSource.VISITS, "landing_page", _STARTS), Leg(RowSource.VISITS, EXIT_PAGE, _EXITS)]
    return [*found, Leg(RowSource.VISITS, dimension, VISITS_MEASURES)] if dimension in VISITS_DIMENSIONS else found


def changed_values(
    metrics: MetricStore, generations: Generations, dimension: str, order_by: str, top: int, checkpoint: Checkpoint
) -> ChangedValues:
    """Return the values whose sums differ between the generations.

    Args:
        metrics: the store with the rows of both generations.
        generations: the old and the new generation of the same site-days.
        dimension: the dimension.
        order_by: the metric that ranks the values; if empty, the metric with the largest change in per cent.
        top: the maximum number of values.
        checkpoint: called between queries.

    Raises:
        RefusedError: the dimension does not exist, the metric cannot be combined with the dimension, or the answer
            exceeds a limit of the store.
    """
    of_dimension = legs(dimension)
    _refuse_order(order_by, dimension, [measure for leg in of_dimension for measure in leg.measures])
    if not generations.before:
        return ChangedValues("", [], 0)
    compared = []
    for leg in of_dimension:
        old, new = (_rows(metrics, of_side, dimension, leg, checkpoint) for of_side in generations)
        compared.append(compare(old, new, _KEYS, leg.measures))
    found = most_changed_keys(compared, _KEYS, order_by, top)
    return ChangedValues(found.ranked_by, [(value, sums) for (value,), sums in found.keys], found.total)


def _rows(
    metrics: MetricStore,
    generations: Mapping[SiteDay, int],
    dimension: str,
    leg: Leg,
    checkpoint: Checkpoint,
) -> pl.DataFrame:
    """Return a table with a row per value, and a column per measure.

    A null value gets the name that reports show, for example `(not set)`.
    """
    days = [site_day.day for site_day in generations]
    start = min(days) * DAY_MS
    question = MetricQuery(
        source=leg.source,
        generations=generations,
        start=start,
        end=(max(days) + 1) * DAY_MS,
        bucket_starts=(start,),
        dimensions=(dimension,),
        measures=leg.measures,
        columns={dimension: leg.column} if leg.column != dimension else {},
    )
    checkpoint()
    return metrics.query(question, checkpoint).select(
        pl.col(dimension).fill_null(null_name(dimension)).alias("value"),
        *(pl.col(measure).cast(AMOUNT_SUM) for measure in leg.measures),
    )


def _refuse_order(order_by: str, dimension: str, measures: Sequence[str]) -> None:
    if order_by and order_by not in measures:
        works = ", ".join(measures)
        raise RefusedError(
            f"order_by {order_by} cannot be broken down by {dimension}: use one of {works}",
            field="order_by",
            reason=ErrorReason.VISIT_METRIC_HIT_DIMENSION,
            metric=order_by,
            dimension=dimension,
            works_with=works,
        )
