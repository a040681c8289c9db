"""Answers as protobuf messages, and answer meta as plain values for JSON."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.type import money_pb2

from hitmesh.api.reporter.v1 import reporter_pb2 as pb
from hitmesh.model.checkpoints import Checkpoint, unwatched
from hitmesh.model.closing import visits_wait_until
from hitmesh.model.dates import date_message
from hitmesh.model.days import iso_instant
from hitmesh.model.errors import RefusedError
from hitmesh.model.money import MICROS
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.zones import TZDB_VERSION
from hitmesh.runtime.rpc_values import timestamp
from reporter.answer.freshness import CellState, Freshness, State
from reporter.answer.route import Path
from reporter.answer.series import Column, Exactness, Series
from reporter.answer.sum_range import refuse_beyond_messages
from reporter.question.catalogue import METRIC_VERSION, ColumnType, Scope, Unit
from reporter.question.check import GAP_FILLS
from reporter.question.check_filter import message_of
from reporter.question.check_time import GRAINS
from reporter.question.filter_text import format_filter
from reporter.question.question import Question
from reporter.rpc.answer import Answer

TYPES: Final = {
    ColumnType.COUNT: pb.COLUMN_TYPE_COUNT,
    ColumnType.MONEY: pb.COLUMN_TYPE_MONEY,
    ColumnType.DURATION: pb.COLUMN_TYPE_DURATION,
    ColumnType.RATIO: pb.COLUMN_TYPE_RATIO,
}
SCOPES: Final = {Scope.HIT: pb.METRIC_SCOPE_HIT, Scope.VISIT: pb.METRIC_SCOPE_VISIT}
_EXACTNESS: Final = {
    Exactness.EXACT: pb.EXACTNESS_EXACT,
    Exactness.SKETCH: pb.EXACTNESS_SKETCH,
    Exactness.PARTIAL: pb.EXACTNESS_PARTIAL,
    Exactness.SKETCH_PROVISIONAL: pb.EXACTNESS_SKETCH_PROVISIONAL,
    Exactness.TEXTS_FOLDED: pb.EXACTNESS_TEXTS_FOLDED,
    Exactness.VISITS_PROVISIONAL: pb.EXACTNESS_VISITS_PROVISIONAL,
}
_CELL_STATES: Final = {
    CellState.LIVE: pb.CELL_STATE_LIVE,
    CellState.PROVISIONAL: pb.CELL_STATE_PROVISIONAL,
    CellState.SETTLED: pb.CELL_STATE_SETTLED,
}
_STATES: Final = {
    State.LIVE: pb.FRESHNESS_STATE_LIVE,
    State.DELAYED: pb.FRESHNESS_STATE_DELAYED,
    State.DEGRADED: pb.FRESHNESS_STATE_DEGRADED,
}
_GRAIN_NUMBERS: Final = {grain: number for number, grain in GRAINS.items()}
_GAP_FILL_NUMBERS: Final = {fill: number for number, fill in GAP_FILLS.items()}
_STORES: Final = {
    pb.STORE_EMBEDDED: "embedded",
    pb.STORE_MEMORY: "memory",
    pb.STORE_CASSANDRA: "cassandra",
    pb.STORE_DRUID: "druid",
}
PATHS: Final = {Path.SERIES: pb.SERVING_PATH_SERIES, Path.METRICS: pb.SERVING_PATH_METRICS}


# gRPC clients accept 4 MiB per message by default; headers and meta are well below 1 MiB.
MAX_RESPONSE_BYTES: Final = 3 << 20
_BLOCK: Final = 1_000


def response_of(
    answer: Answer,
    request: pb.RunReportRequest,
    served_by: pb.Store.ValueType,
    checkpoint: Checkpoint = unwatched,
    *,
    max_bytes: int = MAX_RESPONSE_BYTES,
) -> pb.RunReportResponse:
    """Return an answer as a message that every gRPC client can read.

    Raises:
        RefusedError: a sum does not fit in a message (SUM_OUT_OF_RANGE), or the rows exceed `max_bytes`
            (ANSWER_TOO_LARGE).
    """
    question = answer.question
    for rows in (answer.rows, *([answer.totals] if answer.totals else [])):
        refuse_beyond_messages(rows)
    response = pb.RunReportResponse(
        dimension_headers=question.dimensions,
        metric_headers=[_header(column, answer.currency) for column in answer.rows.columns],
        totals=next(_rows(answer.totals, answer.freshness, answer.currency), None) if answer.totals else None,
        total_row_count=answer.rows.total_rows,
        meta=_meta(answer, request, served_by),
    )
    size, rows_left = response.ByteSize(), _rows(answer.rows, answer.freshness, answer.currency)
    while block := list(islice(rows_left, _BLOCK)):
        checkpoint()
        # A tag and a length, together at most 4 bytes, precede each row.
        size += sum(row.ByteSize() + 4 for row in block)
        if size > max_bytes:
            raise _too_large(len(response.rows), len(answer.rows), max_bytes)
        response.rows.extend(block)
    return response


def _too_large(fitting: int, rows: int, max_bytes: int) -> RefusedError:
    return RefusedError(
        f"the answer has {rows:,} rows; about {fitting:,} fit into {max_bytes:,} bytes, the limit of a message: set a "
        "smaller limit, or ask for fewer metrics, a shorter range or a coarser grain",
        field="limit",
        reason=ErrorReason.ANSWER_TOO_LARGE,
        rows=rows,
        fitting_rows=fitting,
        limit=max_bytes,
    )


def freshness_message(reached: Freshness) -> pb.Freshness:
    """Return the freshness as a message."""
    return pb.Freshness(
        complete_through=timestamp(reached.complete_through),
        provisional_from=timestamp(reached.provisional_from),
        lag=None if reached.lag_ms is None else _duration(reached.lag_ms),
        cause=reached.cause,
        state=_STATES[reached.state],
        stalled_partitions=[f"{log}/{partition}" for log, partition in reached.stalled],
        live_from=timestamp(reached.live_from),
        ahead=[
            pb.PartitionAhead(
                log=ahead.partition.log,
                partition=ahead.partition.partition,
                log_time=timestamp(ahead.log_time),
                visits_wait_until=timestamp(visits_wait_until(ahead.log_time)),
                cause=ahead.cause,
            )
            for ahead in reached.ahead
        ],
    )


def meta_values(answer: Answer, served_by: pb.Store.ValueType) -> dict[str, object]:
    """Return an answer's meta as JSON values: instants in ISO 8601 UTC, durations in seconds."""
    question, reached = answer.question, answer.freshness
    return {
        "complete_through": iso_instant(reached.complete_through),
        "provisional_from": iso_instant(reached.provisional_from),
        "live_from": iso_instant(reached.live_from),
        "cell_state": reached.state_between(question.start, question.end).name,
        "lag_s": None if reached.lag_ms is None else reached.lag_ms / 1_000,
        "state": reached.state.value.upper(),
        "stalled_partitions": [f"{log}/{partition}" for log, partition in reached.stalled],
        "partitions_ahead": [f"{log}/{partition}" for (log, partition), *_ in reached.ahead],
        "data_version": answer.data_version,
        "pinnable": answer.is_pinnable,
        "metric_version": METRIC_VERSION,
        "policy_version": answer.policy_version,
        "logic_versions": list(answer.logic_versions),
        "time_zone": question.zone,
        "tzdb_version": TZDB_VERSION,
        "grain": question.buckets.grain.value,
        "start": iso_instant(question.start),
        "end": iso_instant(question.end),
        "filter": format_filter(question.filter),
        "include_excluded": question.include_excluded,
        "excluded_hits": answer.excluded_hits,
        "currency": answer.currency,
        "missing_currencies": list(answer.missing_currencies),
        "exactness": {column.metric.id: column.exactness.value.upper() for column in answer.rows.columns},
        "total_row_count": answer.rows.total_rows,
        "warnings": list(answer.warnings),
        "served_by": _STORES.get(served_by, ""),
        "path": answer.path.value,
        "cost": {"rows": answer.store_rows, "elapsed_s": answer.elapsed_ms / 1_000},
        "query_id": answer.query_id,
    }


def _duration(ms: int) -> Duration:
    return Duration(seconds=ms // 1_000, nanos=ms % 1_000 * 1_000_000)


def _money(micros: int, currency: str) -> money_pb2.Money:
    units, rest = divmod(abs(micros), MICROS)
    sign = -1 if micros < 0 else 1
    return money_pb2.Money(currency_code=currency, units=sign * units, nanos=sign * rest * 1_000)


def _header(column: Column, currency: str) -> pb.MetricHeader:
    metric = column.metric
    return pb.MetricHeader(
        metric=metric.id,
        type=TYPES[metric.type],
        unit=currency if metric.unit is Unit.CURRENCY else metric.unit.value,
        scope=SCOPES[metric.scope],
        exactness=_EXACTNESS[column.exactness],
        relative_standard_error=column.relative_standard_error or None,
    )


def _rows(rows: Series, reached: Freshness, currency: str) -> Iterator[pb.Row]:
    keys = zip(*rows.dimensions, strict=True) if rows.dimensions else iter([()] * len(rows))
    cells = zip(*(_cells(column, currency) for column in rows.columns), strict=True)
    buckets = _time_buckets(rows, reached)
    for bucket, values, row in zip(rows.buckets.tolist(), keys, cells, strict=True):
        yield pb.Row(time_bucket=buckets[bucket] if buckets else None, dimension_values=values, cells=row)


def _time_buckets(rows: Series, reached: Freshness) -> dict[int, pb.TimeBucket]:
    if not rows.question.has_time:
        return {}
    axis = rows.question.buckets
    return {
        index: pb.TimeBucket(
            start=timestamp(int(axis.starts[index])),
            end=timestamp(int(axis.ends[index])),
            label=axis.labels[index],
            partial=bool(axis.partial[index]),
            state=_CELL_STATES[reached.state_between(int(axis.starts[index]), int(axis.ends[index]))],
        )
        for index in set(rows.buckets.tolist())
    }


def _cells(column: Column, currency: str) -> Iterator[pb.Cell]:
    sums, empty = column.numerators.tolist(), column.is_empty.tolist()
    if column.denominators is not None:
        quotients = zip(sums, column.denominators.tolist(), column.values.tolist(), strict=True)
        full = (pb.Cell(ratio=pb.Ratio(numerator=n, denominator=d, value=v)) for n, d, v in quotients)
    elif column.lower is not None and column.upper is not None:
        bounds = zip(sums, column.values.tolist(), column.lower.tolist(), column.upper.tolist(), strict=True)
        full = (_count_cell(*bound) for bound in bounds)
    elif column.metric.type is ColumnType.MONEY:
        full = (pb.Cell(money=_money(micros, currency)) for micros in sums)
    elif column.metric.type is ColumnType.DURATION:
        full = (pb.Cell(duration=_duration(ms)) for ms in sums)
    else:
        full = (pb.Cell(int64_value=count) for count in sums)
    none = pb.Cell(null_reason=pb.NULL_REASON_NO_DATA)
    return (none if is_empty else cell for is_empty, cell in zip(empty, full, strict=True))


def _count_cell(count: int, estimate: float, lower: float, upper: float) -> pb.Cell:
    """Return the cell for a count; an exact count has NaN bounds and becomes an integer."""
    if lower != lower:
        return pb.Cell(int64_value=count)
    return pb.Cell(double_value=estimate, lower=lower, upper=upper)


def _meta(answer: Answer, request: pb.RunReportRequest, served_by: pb.Store.ValueType) -> pb.ReportMeta:
    question = answer.question
    return pb.ReportMeta(
        freshness=freshness_message(answer.freshness),
        data_version=answer.data_version,
        metric_version=METRIC_VERSION,
        policy_version=answer.policy_version,
        time_zone=question.zone,
        tzdb_version=TZDB_VERSION,
        filter=format_filter(question.filter),
        include_excluded=question.include_excluded,
        start=timestamp(question.start),
        end=timestamp(question.end),
        currency=answer.currency,
        missing_currencies=answer.missing_currencies,
        warnings=answer.warnings,
        served_by=served_by,
        cost=pb.Cost(rows=answer.store_rows, elapsed=_duration(answer.elapsed_ms)),
        query_id=answer.query_id,
        excluded_hits=answer.excluded_hits,
        request=understood(question, request),
        state=_CELL_STATES[answer.freshness.state_between(question.start, question.end)],
        path=PATHS[answer.path],
        logic_versions=answer.logic_versions,
        pinnable=answer.is_pinnable,
    )


def understood(question: Question, request: pb.RunReportRequest) -> pb.RunReportRequest:
    """Return the request with defaults filled in and the range resolved."""
    if question.dates:
        first, last = map(date_message, question.dates)
        time_range = pb.TimeRange(dates=pb.DateRange(first_date=first, last_date=last))
    else:
        instants = pb.InstantRange(start=timestamp(question.start), end=timestamp(question.end))
        time_range = pb.TimeRange(instants=instants)
    return pb.RunReportRequest(
        site=request.site,
        metrics=[metric.id for metric in question.metrics],
        dimensions=question.dimensions,
        time_range=time_range,
        time_grain=_GRAIN_NUMBERS[question.buckets.grain],
        time_zone=question.zone,
        filter=message_of(question.filter) if question.filter else None,
        order_by=[pb.OrderBy(field=order.field, descending=order.descending) for order in question.order_by],
        limit=question.limit,
        include_totals=question.include_totals,
        gap_fill=_GAP_FILL_NUMBERS[question.gap_fill],
        include_excluded=question.include_excluded,
        data_version=request.data_version,
    )
