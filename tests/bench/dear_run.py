"""Measure how long concurrent expensive questions delay a small question.

The questions go through the reporter's process and socket. The delay is measured twice: while all callers wait for an
answer, and after all callers have cancelled.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

import grpc

from hitmesh.api.reporter.v1 import reporter_pb2 as pb
from hitmesh.client.mesh import Mesh
from tests.bench.filled_store import SERIES_SITE
from tests.bench.measured import Result, progress
from tests.bench.report_run import days_of, reporter_on

AIM_S: Final = 2.0
DEADLINE_S: Final = 30.0
# Time for which the expensive questions run before their callers cancel.
HEAD_START_S: Final = 1.0
PATTERNS: Final = 20
METRICS: Final = (
    *("visitors", "hits", "pageviews", "events", "product_views", "cart_adds", "checkouts_started", "orders"),
    *("gross_revenue", "refunds", "net_revenue", "tax", "shipping", "discounts", "average_order_value"),
    *("bot_hits", "excluded_hits", "duplicate_hits", "late_hits", "clock_skewed_hits"),
)
DIMENSIONS: Final = ("page_path", "hostname", "browser", "os", "device_type")


def run_dear(store: Path, days: int, questions: int) -> Result:
    """Return the response time of a small question. At the same time, `questions` expensive questions run."""
    dear, small = _dear(days), _small(days)
    with reporter_on(store) as mesh:
        progress("reports: a small and a dear question alone")
        alone = {"small_s": _answered_s(mesh, small), "dear_s": _answered_s(mesh, dear)}
        progress(f"reports: {questions} dear questions at once, whose callers wait")
        calls = _ask(mesh, dear, questions)
        behind_s = _answered_s(mesh, small)
        ended = [call.code() for call in calls if call.done()]
        _leave(calls)
        _answered_s(mesh, small)
        progress(f"reports: {questions} dear questions at once, whose callers leave")
        calls = _ask(mesh, dear, questions)
        time.sleep(HEAD_START_S)
        _leave(calls)
        after_s = _answered_s(mesh, small)
    return {
        "questions": questions,
        "alone": alone,
        "small_s_while_callers_wait": _judged(behind_s),
        "dear_ones_ended_before": len(ended),
        "small_s_after_callers_left": _judged(after_s),
    }


def _ask(mesh: Mesh, request: pb.RunReportRequest, questions: int) -> list[Any]:
    ask = mesh.reporter.RunReport.future
    return [ask(request, timeout=DEADLINE_S, metadata=mesh.credentials) for _ in range(questions)]


def _leave(calls: list[Any]) -> None:
    for call in calls:
        call.cancel()


def _answered_s(mesh: Mesh, request: pb.RunReportRequest) -> float:
    """Return the seconds until the question is answered. If the server is full, the question is sent again at once."""
    began = time.perf_counter()
    while True:
        try:
            mesh.reporter.RunReport(request, timeout=2 * DEADLINE_S, metadata=mesh.credentials)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
        else:
            return round(time.perf_counter() - began, 3)


def _judged(seconds: float) -> Result:
    return {"value": seconds, "unit": "s, at most", "aim": AIM_S, "ok": seconds <= AIM_S}


def _dear(days: int) -> pb.RunReportRequest:
    """Return a question that is as expensive as the limits allow.

    The question has patterns, many dimensions and many metrics.
    """
    patterns = [
        pb.Filter(
            dimension_filter=pb.DimensionFilter(
                dimension="page_path",
                operator=pb.FILTER_OPERATOR_RE2,
                values=[f"[a-z0-9/._-]{{0,80}}[{number % 10}a-z][a-z0-9/._-]{{0,80}}"],
            )
        )
        for number in range(PATTERNS)
    ]
    return pb.RunReportRequest(
        site=SERIES_SITE.name,
        metrics=METRICS,
        dimensions=DIMENSIONS,
        time_range=days_of(days),
        time_grain=pb.TIME_GRAIN_HOUR,
        filter=pb.Filter(or_list=pb.FilterList(filters=patterns)),
        order_by=[pb.OrderBy(field="visitors", descending=True)],
        limit=1_000,
    )


def _small(days: int) -> pb.RunReportRequest:
    return pb.RunReportRequest(
        site=SERIES_SITE.name, metrics=["hits"], dimensions=["channel"], time_range=days_of(min(1, days))
    )
