"""Reports of the mesh, asked through typed gRPC, in the shape of the reference model's, and what is compared."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from hitmesh.reporter.v1 import reporter_pb2, reporter_pb2_grpc
from tests.reference.hits import RefHit
from tests.reference.report import METRICS, Report, Value, report
from tests.reference.settled import Settled, settle

ZONES = ("UTC", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe")
GRAINS = ("DAY", "HOUR")
PAGE_DIMENSIONS = ("page_path", "hostname")
ITEM_DIMENSIONS = ("product", "category", "brand")
ITEM_METRICS = ("items_sold", "item_revenue", "product_views", "cart_adds")
MAX_METRICS = 20
MAX_ROWS = 100_000
MICROS = 1_000_000


@dataclass(frozen=True)
class Question:
    """One report, for the mesh and for the model."""

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
    """The reference model over some hits, settled once per site. Every hit is history, so every one is late."""

    def __init__(self, hits: Sequence[RefHit]) -> None:
        settled = settle([replace(hit, is_late=True) for hit in hits])
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
    """Returns a report without rows of nothing; a ratio with denominator 0 is nothing."""
    kept = {
        key: {metric: _without_zero_denominator(value) for metric, value in values.items()}
        for key, values in rows.items()
    }
    return {key: values for key, values in kept.items() if any(value not in (0, (0, 0)) for value in values.values())}


def _without_zero_denominator(value: Value) -> Value:
    return (0, 0) if isinstance(value, tuple) and value[1] == 0 else value


def ask(reporter: reporter_pb2_grpc.ReporterServiceStub, question: Question) -> Report:
    """Returns the mesh's answer; questions with more than 20 metrics are asked in parts."""
    rows: Report = {}
    for start in range(0, len(question.metrics), MAX_METRICS):
        metrics = question.metrics[start : start + MAX_METRICS]
        answer = reporter.RunReport(_request(question, metrics), timeout=60)
        assert answer.total_row_count == len(answer.rows)
        for row in answer.rows:
            values = {name: value_of(cell) for name, cell in zip(metrics, row.cells, strict=True)}
            rows.setdefault((row.time_bucket.label, *row.dimension_values), {}).update(values)
    filled = {key: {metric: values.get(metric, 0) for metric in question.metrics} for key, values in rows.items()}
    return normal({key: _with_pairs(values, question.metrics) for key, values in filled.items()})


def _with_pairs(values: Mapping[str, Value], metrics: Sequence[str]) -> dict[str, Value]:
    """A ratio that is not there is (0, 0), like in the model."""
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
            dates=reporter_pb2.DateRange(since=_date(question.first), until=_date(question.last))
        ),
        time_grain=reporter_pb2.TimeGrain.Value(f"TIME_GRAIN_{question.grain}"),
        time_zone=question.zone,
        include_excluded=question.include_excluded,
        limit=MAX_ROWS,
    )


def _date(day: date) -> reporter_pb2.Date:
    return reporter_pb2.Date(year=day.year, month=day.month, day=day.day)


def value_of(cell: reporter_pb2.Cell) -> Value:
    """Returns a cell as the model has it: counts, micros, milliseconds, (numerator, denominator)."""
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
    site: str, first: date, last: date, currency: str = "USD", *, include_excluded: bool | None = None
) -> Iterator[Question]:
    """Yields what is compared about a site: all metrics by day and hour in four zones, and by dimensions in UTC."""
    states = (False, True) if include_excluded is None else (include_excluded,)
    for excluded in states:
        everything = Question(site, first, last, include_excluded=excluded, currency=currency)
        yield everything
        for zone in ZONES:
            for grain in GRAINS:
                yield Question(site, first, last, zone, grain, include_excluded=excluded, currency=currency)
        for dimension in PAGE_DIMENSIONS:
            yield Question(site, first, last, dimensions=(dimension,), include_excluded=excluded, currency=currency)
        for zone in ("UTC", "Asia/Kathmandu"):
            yield Question(
                site,
                first,
                last,
                zone,
                "DAY",
                dimensions=ITEM_DIMENSIONS,
                metrics=ITEM_METRICS,
                include_excluded=excluded,
                currency=currency,
            )


def assert_equal(asked: Report, expected: Report, question: Question, without: frozenset[str] = frozenset()) -> None:
    """Fails with the first few cells that differ."""
    wrong = [
        f"{key} {metric}: mesh {asked.get(key, {}).get(metric)}, model {expected.get(key, {}).get(metric)}"
        for key in sorted(asked.keys() | expected.keys())
        for metric in question.metrics
        if metric not in without and _cell(asked, key, metric) != _cell(expected, key, metric)
    ]
    assert not wrong, f"{question}: {len(wrong)} cells differ\n" + "\n".join(wrong[:12])


def _cell(rows: Report, key: tuple[str, ...], metric: str) -> Value:
    return rows.get(key, {}).get(metric, (0, 0) if metric in _RATIOS else 0)
