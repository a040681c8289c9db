"""Encode the reports of collectors and reporters as JSON, in the same form for every store with tables.

A value has no name of the process, because the name is the key of the row.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from hitmesh.model.errors import StoreCorrupt
from hitmesh.model.quotas import CollectorReport, HitLimits, QuotaUse, ReporterReport, UnitsSpent, Use

ReportT = TypeVar("ReportT", CollectorReport, ReporterReport)


@dataclass(frozen=True, slots=True)
class ReportForm(Generic[ReportT]):
    """How reports are stored: table, the column with the name of the process, and the encoding."""

    table: str
    column: str
    encode: Callable[[ReportT], bytes]
    decode: Callable[[str, bytes], ReportT]


def report_value(report: CollectorReport) -> bytes:
    """Return a collector's report as JSON."""
    return json.dumps([report.site_default, report.key_default, report.uses]).encode()


def report_of(collector: str, value: bytes) -> CollectorReport:
    """Return the report in a collector's row.

    Raises:
        StoreCorrupt: the value is damaged.
    """
    try:
        site_default, key_default, uses = json.loads(value)
        return CollectorReport(collector, HitLimits(*site_default), HitLimits(*key_default), tuple(map(_use_of, uses)))
    except (TypeError, ValueError) as error:
        raise StoreCorrupt("the report of a collector is damaged: delete the row; collectors write it again") from error


def spent_value(report: ReporterReport) -> bytes:
    """Return a reporter's report as JSON."""
    return json.dumps(report.spent).encode()


def spent_of(reporter: str, value: bytes) -> ReporterReport:
    """Return the report in a reporter's row.

    Raises:
        StoreCorrupt: the value is damaged.
    """
    try:
        return ReporterReport(reporter, tuple(UnitsSpent(*each) for each in json.loads(value)))
    except (TypeError, ValueError) as error:
        raise StoreCorrupt("the report of a reporter is damaged: delete the row; reporters write it again") from error


def _use_of(value: list[object]) -> QuotaUse:
    resource, limits, hits, size, refused = value
    return QuotaUse(resource, HitLimits(*limits), Use(*hits), Use(*size), refused)  # type: ignore[arg-type,misc]  # JSON


OF_COLLECTORS: Final = ReportForm("collector_reports", "collector", report_value, report_of)
OF_REPORTERS: Final = ReportForm("reporter_reports", "reporter", spent_value, spent_of)
