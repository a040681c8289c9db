"""RunReport: answer a typed question with a typed answer that states freshness and exactness.

Limits: 20 metrics, 5 dimensions, 10,000 buckets, 100,000 rows (reporter.question.check*), 3 MiB per answer.
"""

from __future__ import annotations

from dataclasses import dataclass

from hitmesh.access.callers import Caller
from hitmesh.api.reporter.v1 import reporter_pb2 as pb
from hitmesh.model.errors import Unavailable
from hitmesh.model.names import merchant_of
from hitmesh.model.sites import Site
from reporter.answer.pins import Pin, pin_in, refuse_other_days
from reporter.answer.standing import days_between
from reporter.question.check import checked
from reporter.question.question import Question
from reporter.rpc.answer import Answer, answer
from reporter.rpc.backend import Backend
from reporter.rpc.messages import MAX_RESPONSE_BYTES, response_of
from reporter.rpc.sites import currency_of, default_zone, sites_named


def run_report(
    backend: Backend,
    caller: Caller | None,
    request: pb.RunReportRequest,
    *,
    max_bytes: int = MAX_RESPONSE_BYTES,
) -> pb.RunReportResponse:
    """Return the answer, at most `max_bytes` long.

    Raises:
        NotFound: the site does not exist, or the caller may not read the site.
        RefusedError: the question cannot be answered; the error names field, rule and remedy.
        Unavailable: no store that could answer is available.
    """
    found = answer_to(backend, caller, request)
    return response_of(found, request, backend.store_of(found.path), backend.checkpoint, max_bytes=max_bytes)


def answer_to(backend: Backend, caller: Caller | None, request: pb.RunReportRequest) -> Answer:
    """Return the answer. The caller converts the answer to a message or a file.

    Raises:
        QuotaExceeded: the merchant's report units are used up.
    """
    report = checked_question(backend, caller, request)
    question, merchant = report.question, merchant_of(report.sites[0].name)
    values = len(question.buckets) * len(question.metrics) * len(report.sites)
    charged = backend.budget.charge(backend.directory, merchant, values)
    try:
        with backend.lanes.turn(question, backend.checkpoint):
            found = answer(backend, question, report.sites, report.currency, report.warnings, report.pin)
    except Unavailable:
        backend.budget.add(merchant, -charged)
        raise
    backend.budget.add(merchant, found.store_rows)
    return found


@dataclass(frozen=True, slots=True)
class CheckedQuestion:
    """A checked question, the question's sites, and the requested version, if any."""

    question: Question
    sites: tuple[Site, ...]
    currency: str
    warnings: tuple[str, ...]
    pin: Pin | None = None


def checked_question(backend: Backend, caller: Caller | None, request: pb.RunReportRequest) -> CheckedQuestion:
    """Check the names, limits and read rights of a request, and return the checked question.

    Raises:
        NotFound: the site does not exist, or the caller may not read the site.
        RefusedError: the question cannot be answered; the error names field, rule and remedy.
    """
    sites = sites_named(backend, request.site)
    pin = pin_in(request.data_version, sites, request.site) if request.data_version else None
    zone, warnings = default_zone(sites)
    question = checked(request, zone, backend.clock.now())
    if pin is not None:
        refuse_other_days(pin, days_between(question.start, question.end))
    currency = currency_of(sites, question.metrics)
    return CheckedQuestion(question, sites, currency, () if request.time_zone else warnings, pin)
