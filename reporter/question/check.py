"""Check questions (journey step 7).

This module checks that names are known, that metrics and dimensions can be combined, and that lists keep their limits.
This module also fills in defaults. check_time checks ranges and buckets, and check_filter checks filters. Callers pass
the current time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from hitmesh.api.reporter.v1 import reporter_pb2 as pb
from hitmesh.model.errors import RefusedError
from hitmesh.model.filters import Filter
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.similar_names import nearest, similar
from reporter.question.catalogue import DIMENSIONS, METRICS, Metric, conflict
from reporter.question.check_filter import checked_filter, dimensions_in
from reporter.question.check_time import checked_grain, checked_range, checked_zone, split_into_buckets
from reporter.question.question import DEFAULT_ROWS, MAX_ROWS, TIME, GapFill, Order, Question

MAX_METRICS: Final = 20
MAX_DIMENSIONS: Final = 5
MAX_ORDERS: Final = MAX_METRICS + MAX_DIMENSIONS + 1

GAP_FILLS: Final = {
    pb.GAP_FILL_UNSPECIFIED: GapFill.ZERO,
    pb.GAP_FILL_NONE: GapFill.NONE,
    pb.GAP_FILL_ZERO: GapFill.ZERO,
    pb.GAP_FILL_NULL: GapFill.NULL,
}


def checked(request: pb.RunReportRequest, default_zone: str, now_ms: int) -> Question:
    """Return the question in a request. The site is not checked here, but in reporter.rpc.sites.

    Args:
        request: the request as sent.
        default_zone: the site's zone, used when the request names no zone.
        now_ms: the current time, for ranges that end today.

    Raises:
        RefusedError: the request is invalid. The error has the field, a stable reason, the limit and the remedy.
    """
    metrics = checked_metrics(request.metrics)
    dimensions = _checked_dimensions(request.dimensions)
    tree = checked_filter(request.filter) if request.HasField("filter") else None
    _refuse_conflicts(metrics, dimensions, tree)
    zone = checked_zone(request.time_zone or default_zone)
    grain = checked_grain(request.time_grain)
    start, end, dates = checked_range(request.time_range, zone, now_ms)
    question = Question(
        metrics=metrics,
        dimensions=dimensions,
        buckets=split_into_buckets(zone, start, end, grain),
        start=start,
        end=end,
        dates=dates,
        filter=tree,
        limit=_checked_limit(request.limit) if request.HasField("limit") else DEFAULT_ROWS,
        gap_fill=_checked_gap_fill(request.gap_fill),
        gap_fill_is_default=request.gap_fill == pb.GAP_FILL_UNSPECIFIED,
        include_totals=request.include_totals,
        include_excluded=request.include_excluded,
    )
    _refuse_orders(request.order_by, question)
    return _with_orders(question, [Order(order.field, order.descending) for order in request.order_by])


def checked_metrics(ids: Sequence[str]) -> tuple[Metric, ...]:
    """Return the metrics with these ids.

    Raises:
        RefusedError: a metric is unknown (UNKNOWN_METRIC), or there are no ids, too many ids or duplicates
            (INVALID_FIELD).
    """
    if not ids:
        raise RefusedError("metrics is empty: name 1 to 20, for example visits", field="metrics")
    _refuse_list("metrics", ids, MAX_METRICS)
    for index, id_ in enumerate(ids):
        if id_ not in METRICS:
            raise RefusedError(
                f"unknown metric {id_[:64]!r}: {nearest(id_, METRICS)}",
                field=f"metrics[{index}]",
                reason=ErrorReason.UNKNOWN_METRIC,
                value=id_,
                similar=similar(id_, METRICS),
            )
    return tuple(METRICS[id_] for id_ in ids)


def _checked_dimensions(ids: Sequence[str]) -> tuple[str, ...]:
    _refuse_list("dimensions", ids, MAX_DIMENSIONS)
    for index, id_ in enumerate(ids):
        if id_ not in DIMENSIONS:
            hint = "to break down by time, set the grain" if id_ == TIME else nearest(id_, DIMENSIONS)
            raise RefusedError(
                f"unknown dimension {id_[:64]!r}: {hint}",
                field=f"dimensions[{index}]",
                reason=ErrorReason.UNKNOWN_DIMENSION,
                value=id_,
                similar=similar(id_, DIMENSIONS),
            )
    return tuple(ids)


def _refuse_list(field: str, ids: Sequence[str], max_length: int) -> None:
    if len(ids) > max_length:
        raise RefusedError(
            f"{field} has {len(ids)} entries; the limit is {max_length}: send fewer",
            field=field,
            count=len(ids),
            limit=max_length,
        )
    for index, id_ in enumerate(ids):
        if id_ in ids[:index]:
            raise RefusedError(
                f"{id_[:64]!r} appears twice in {field}: list each id once", field=f"{field}[{index}]", value=id_
            )


def _refuse_conflicts(metrics: Iterable[Metric], dimensions: Sequence[str], tree: Filter | None) -> None:
    fields = dict.fromkeys(dimensions_in(tree), "filter")
    fields |= {dimension: f"dimensions[{index}]" for index, dimension in enumerate(dimensions)}
    for metric in metrics:
        for dimension, field in fields.items():
            found = conflict(metric, dimension)
            if found:
                raise RefusedError(
                    found.message,
                    field=field,
                    reason=found.reason,
                    metric=metric.id,
                    dimension=dimension,
                    works_with=", ".join(found.works_with),
                )


def _checked_limit(limit: int) -> int:
    if not 1 <= limit <= MAX_ROWS:
        raise RefusedError(
            f"limit {limit:,} is out of range: send 1 to {MAX_ROWS:,}",
            field="limit",
            value=limit,
            limit=MAX_ROWS,
        )
    return limit


def _checked_gap_fill(gap_fill: pb.GapFill.ValueType) -> GapFill:
    if gap_fill not in GAP_FILLS:
        cure = "use GAP_FILL_NONE, GAP_FILL_ZERO or GAP_FILL_NULL"
        raise RefusedError(f"gap_fill {gap_fill} is not known: {cure}", field="gap_fill", value=gap_fill)
    return GAP_FILLS[gap_fill]


def _refuse_orders(orders: Sequence[pb.OrderBy], question: Question) -> None:
    names = [order.field for order in orders]
    _refuse_list("order_by", names, MAX_ORDERS)
    known = [*(metric.id for metric in question.metrics), *question.dimensions, *([TIME] if question.has_time else [])]
    for index, name in enumerate(names):
        if name not in known:
            raise RefusedError(
                f"order_by {name[:64]!r} is not in the report: {nearest(name, known)}",
                field=f"order_by[{index}].field",
                reason=ErrorReason.UNKNOWN_ORDER,
                value=name,
                similar=similar(name, known),
            )


def _with_orders(question: Question, orders: Sequence[Order]) -> Question:
    """Return the question with a complete order: the requested keys, then time and all other dimensions.

    If the request has no sort keys, rows are sorted by time, then by the first metric in descending order.
    """
    default = [Order(TIME)] * question.has_time + [Order(question.metrics[0].id, descending=True)]
    chosen = list(orders) or default
    rest = [Order(TIME)] * question.has_time + [Order(dimension) for dimension in question.dimensions]
    named = {order.field for order in chosen}
    return replace(question, order_by=(*chosen, *(order for order in rest if order.field not in named)))
