"""Encode collectors' reports as JSON, in the same form for every store with tables."""

from __future__ import annotations

import json

from hitmesh.model.errors import StoreCorrupt
from hitmesh.model.quotas import CollectorReport, HitLimits, QuotaUse, Use


def report_value(report: CollectorReport) -> bytes:
    """Return a report without the collector's name, which is the key of the row."""
    return json.dumps([report.site_default, report.key_default, report.uses]).encode()


def report_of(collector: str, value: bytes) -> CollectorReport:
    """Return the report in a row.

    Raises:
        StoreCorrupt: the value is damaged.
    """
    try:
        site_default, key_default, uses = json.loads(value)
        return CollectorReport(collector, HitLimits(*site_default), HitLimits(*key_default), tuple(map(_use_of, uses)))
    except (TypeError, ValueError) as error:
        raise StoreCorrupt("the report of a collector is damaged: delete the row; collectors write it again") from error


def _use_of(value: list[object]) -> QuotaUse:
    resource, limits, hits, size, refused = value
    return QuotaUse(resource, HitLimits(*limits), Use(*hits), Use(*size), refused)  # type: ignore[arg-type,misc]  # JSON
