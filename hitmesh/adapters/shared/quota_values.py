"""Quotas as rows, in the same columns for every store with tables."""

from __future__ import annotations

from typing import Final

from hitmesh.model.quotas import PendingQuota, Quota

QUOTA_COLUMNS: Final = (
    "hits_s, bytes_s, report_units_min, "
    "pending_from, pending_hits_s, pending_bytes_s, pending_report_units_min, version"
)


def quota_of(
    hits_s: int | None,
    bytes_s: int | None,
    report_units_min: int | None,
    pending_from: int | None,
    pending_hits_s: int | None,
    pending_bytes_s: int | None,
    pending_report_units_min: int | None,
    version: int | None,
) -> Quota:
    """Return the quota in a row. Rows of earlier versions have None in the last five columns."""
    pending = None
    if pending_from is not None:
        pending = PendingQuota(pending_from, Quota(pending_hits_s, pending_bytes_s, pending_report_units_min))
    return Quota(hits_s, bytes_s, report_units_min, pending, version or 0)


def quota_values(quota: Quota) -> tuple[int | None, ...]:
    """Return a quota's values in the order of QUOTA_COLUMNS."""
    pending = quota.pending
    later = (None,) * 4
    if pending is not None:
        limits = pending.quota
        later = (pending.effective_at, limits.hits_s, limits.bytes_s, limits.report_units_min)  # type: ignore[assignment]  # None or numbers
    return (quota.hits_s, quota.bytes_s, quota.report_units_min, *later, quota.version)
