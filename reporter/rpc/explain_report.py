"""ExplainReport: explain which store would answer a report, for which reason, and with which reads.

The call reads no metric values.

The limits are those of RunReport.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol, runtime_checkable

from hitmesh.access.callers import Caller
from hitmesh.api.reporter.v1 import reporter_pb2 as pb
from hitmesh.model.errors import RefusedError
from hitmesh.model.queries import MetricQuery
from reporter.answer.from_series import Run, runs
from reporter.answer.paths import reach_of
from reporter.answer.route import Path, Route, route
from reporter.answer.standing import days_between
from reporter.question.plan import Leg, excluded_hits_leg, folded_leg, legs
from reporter.rpc.answer import read_pinned, read_standing
from reporter.rpc.backend import Backend
from reporter.rpc.messages import PATHS, understood
from reporter.rpc.run_report import checked_question

SERIES_SOURCE: Final = "series"


@runtime_checkable
class Explains(Protocol):
    """A metric store with a native query language."""

    def explain(self, question: MetricQuery) -> str:
        """Return the store's native query for a question, as text."""


def explain_report(
    backend: Backend, caller: Caller | None, request: pb.ExplainReportRequest
) -> pb.ExplainReportResponse:
    """Return the store that would answer the report now, the reason for this store, and the store's reads.

    Raises:
        NotFound, RefusedError: as for `run_report`.
        Unavailable: no store that could answer is available.
    """
    report = _report_of(request)
    checked_report = checked_question(backend, caller, report)
    question, sites = checked_report.question, checked_report.sites
    way = route(question, len(sites))
    path, reason = _path_now(backend, way)
    days = days_between(question.start, question.end)
    if checked_report.pin is not None:
        standing = read_pinned(backend, sites, days, checked_report.pin)
    else:
        standing = read_standing(backend, sites, days, reach_of(backend, path))
    planned = list(legs(question, standing.generations))
    folded = [of_leg for leg in planned if (of_leg := folded_leg(question, leg)) is not None]
    if question.include_totals and (question.dimensions or question.has_time):
        planned += legs(question.of_totals(), standing.generations)
    excluded = excluded_hits_leg(question, standing.generations)
    planned += [*folded, *([excluded] if excluded else [])]
    is_series = path is Path.SERIES
    return pb.ExplainReportResponse(
        request=understood(question, report),
        path=PATHS[path],
        store=backend.store_of(path),
        reason=reason,
        reads=_series_reads(runs(standing.generations), planned) if is_series else _metric_reads(backend, planned),
    )


def _report_of(request: pb.ExplainReportRequest) -> pb.RunReportRequest:
    """Return the report that a request contains.

    If the report names no site, add the request's `site`, which REST takes from the URL.
    """
    report = pb.RunReportRequest()
    report.CopyFrom(request.report)
    report.site = report.site or request.site
    if request.site and report.site != request.site:
        raise RefusedError(
            f"site {request.site[:160]!r} differs from the report's {report.site[:160]!r}: set only one",
            field="site",
            value=request.site,
            existing=report.site,
        )
    return report


def _path_now(backend: Backend, way: Route) -> tuple[Path, str]:
    """Return the path that would be tried first, and the reason.

    A path whose circuit breaker is open is skipped.
    """
    now = backend.clock.now()
    first = way.paths[0]
    path = next((candidate for candidate in way.paths if not backend.breakers.of(candidate).is_pausing(now)), first)
    return (
        path,
        way.reason if path is first else f"{way.reason}; but {backend.breakers.of(first).store} is unavailable",
    )


def _series_reads(found: Sequence[Run], planned: Sequence[Leg]) -> list[pb.PlannedRead]:
    columns = dict.fromkeys(column for leg in planned for column in _columns(leg))
    days = sum(run.days for run in found)
    return [pb.PlannedRead(source=SERIES_SOURCE, columns=columns, site_days=days, requests=len(found))]


def _metric_reads(backend: Backend, planned: Sequence[Leg]) -> list[pb.PlannedRead]:
    store = backend.metrics
    return [
        pb.PlannedRead(
            source=leg.query.source.value,
            columns=_columns(leg),
            dimensions=leg.query.dimensions,
            site_days=len(leg.query.generations),
            requests=1,
            native_query=store.explain(leg.query) if isinstance(store, Explains) else None,
        )
        for leg in planned
    ]


def _columns(leg: Leg) -> tuple[str, ...]:
    return (*leg.query.measures, *leg.query.sketches)
