"""Compare reports. Put the mesh's answers over gRPC into the form of the reference model's answers."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from hitmesh.api.reporter.v1 import reporter_pb2, reporter_pb2_grpc
from hitmesh.model.dates import date_message
from tests.reference.hits import RefHit
from tests.reference.report import METRICS, Report, Value, report
from tests.reference.settled import Settled, settle
from tests.support.tenants import authorized

ZONES = ("UTC", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe")
ITEM_DIMENSIONS = ("product", "category", "brand")
ITEM_METRICS = ("items_sold", "item_revenue", "product_views", "cart_adds")
MAX_METRICS = 20
MAX_ROWS = 100_000
MICROS = 1_000_000


@dataclass(frozen=True)
class Question:
    """A question that can be asked of both mesh and model."""

    site: str
    first: date
    last: date
    zone: str = "UTC"
    grain: str = "NONE"
    dimensions: tuple[str, ...] = ()
    metrics: tuple[str, ...] = METRICS
    include_excluded: bool = False
    currency: str = "USD"


class Model:
    """The answers of the reference model for some hits. All hits arrive after their day has closed, and are late.

    If `counted` is given, the model answers from `counted` instead of settling the hits.
    """

    def __init__(self, hits: Sequence[RefHit], counted: Settled | None = None) -> None:
        settled = counted or settle([replace(hit, is_late=True) for hit in hits])
        self.sites = sorted({hit.site for hit in hits})
        self._settled = {
            site: Settled(entries=[entry for entry in settled.entries if entry.site == site]) for site in self.sites
        }
        self.answer = functools.cache(self._answer)

    def _answer(self, question: Question) -> Report:
        return normal(
            report(
                self._settled[question.site],
                sites=[question.site],
                metrics=question.metrics,
                grain=question.grain,
                zone=question.zone,
                first_date=question.first,
                last_date=question.last,
                dimensions=question.dimensions,
                include_excluded=question.include_excluded,
                currency=question.currency,
            )
        )


def normal(rows: Report) -> Report:
    """Return a report without empty rows. A ratio with denominator 0 counts as empty."""
    kept = {
        key: {metric: _without_zero_denominator(value) for metric, value in values.items()}
        for key, values in rows.items()
    }
    return {key: values for key, values in kept.items() if any(value not in (0, (0, 0)) for value in values.values())}


def _without_zero_denominator(value: Value) -> Value:
    return (0, 0) if isinstance(value, tuple) and value[1] == 0 else value


def ask(reporter: reporter_pb2_grpc.ReporterServiceStub, question: Question, key: str | None = None) -> Report:
    """Return the mesh's answer. A question with more than 20 metrics is split into several requests."""
    metadata = authorized(key) if key else ()
    rows: Report = {}
    for start in range(0, len(question.metrics), MAX_METRICS):
        metrics = question.metrics[start : start + MAX_METRICS]
        answer = reporter.RunReport(_request(question, metrics), timeout=60, metadata=metadata)
        assert answer.total_row_count == len(answer.rows)
        for row in answer.rows:
            values = {name: value_of(cell) for name, cell in zip(metrics, row.cells, strict=True)}
            rows.setdefault((row.time_bucket.label, *row.dimension_values), {}).update(values)
    filled = {key: {metric: values.get(metric, 0) for metric in question.metrics} for key, values in rows.items()}
    return normal({key: _with_pairs(values, question.metrics) for key, values in filled.items()})


def _with_pairs(values: Mapping[str, Value], metrics: Sequence[str]) -> dict[str, Value]:
    """Return the values with (0, 0) for every missing ratio, like the model."""
    return {name: (0, 0) if name in _RATIOS and values[name] == 0 else values[name] for name in metrics}


_RATIOS = frozenset(
    {
        "bounce_rate",
        "visit_duration_avg",
        "views_per_visit",
        "average_order_value",
        "revenue_per_visit",
        "conversion_rate",
    }
)


def _request(question: Question, metrics: Sequence[str]) -> reporter_pb2.RunReportRequest:
    return reporter_pb2.RunReportRequest(
        site=question.site,
        metrics=metrics,
        dimensions=question.dimensions,
        time_range=reporter_pb2.TimeRange(
            dates=reporter_pb2.DateRange(first_date=date_message(question.first), last_date=date_message(question.last))
        ),
        time_grain=reporter_pb2.TimeGrain.Value(f"TIME_GRAIN_{question.grain}"),
        time_zone=question.zone,
        include_excluded=question.include_excluded,
        limit=MAX_ROWS,
    )


def value_of(cell: reporter_pb2.Cell) -> Value:
    """Return a cell in the model's units: counts, micros, milliseconds, (numerator, denominator)."""
    match cell.WhichOneof("value"):
        case "int64_value":
            return cell.int64_value
        case "ratio":
            return (cell.ratio.numerator, cell.ratio.denominator)
        case "money":
            return int(cell.money.units) * MICROS + int(cell.money.nanos) // 1_000
        case "duration":
            return cell.duration.ToMilliseconds()
        case "null_reason":
            return 0
        case kind:
            raise AssertionError(f"an exact cell was expected, not {kind}: {cell}")


def questions(
    site: str, first: date, last: date, currency: str = "USD", *, with_excluded: bool | None = None
) -> Iterator[Question]:
    """Yield all questions about a site: all metrics by day and hour in four zones, and by dimensions.

    If `with_excluded` is None, questions by day are asked with and without excluded hits, and all other questions only
    without excluded hits.
    """
    plain = Question(site, first, last, currency=currency)
    for excluded in (False, True) if with_excluded is None else (with_excluded,):
        plain = replace(plain, include_excluded=excluded)
        yield plain
        yield replace(plain, dimensions=("page_path",))
        yield from by_zone(plain, "DAY")
    plain = replace(plain, include_excluded=bool(with_excluded))
    yield from by_zone(plain, "HOUR")
    yield replace(plain, dimensions=("hostname",))
    for zone in ("UTC", "Asia/Kathmandu"):
        yield replace(plain, zone=zone, grain="DAY", dimensions=ITEM_DIMENSIONS, metrics=ITEM_METRICS)


def by_zone(question: Question, grain: str) -> Iterator[Question]:
    """Yield the question in each of the four time zones."""
    return (replace(question, zone=zone, grain=grain) for zone in ZONES)


def assert_equal(reported: Report, expected: Report, question: Question, without: frozenset[str] = frozenset()) -> None:
    """Fail with the first few cells that differ."""
    wrong = [
        f"{key} {metric}: mesh {reported.get(key, {}).get(metric)}, model {expected.get(key, {}).get(metric)}"
        for key in sorted(reported.keys() | expected.keys())
        for metric in question.metrics
        if metric not in without and _cell(reported, key, metric) != _cell(expected, key, metric)
    ]
    assert not wrong, f"{question}: {len(wrong)} cells differ\n" + "\n".join(wrong[:12])


def _cell(rows: Report, key: tuple[str, ...], metric: str) -> Value:
    return rows.get(key, {}).get(metric, (0, 0) if metric in _RATIOS else 0)
