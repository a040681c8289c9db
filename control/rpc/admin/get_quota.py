"""GetQuota: return the quota of a merchant, site or key, with its present use."""

from __future__ import annotations

from dataclasses import replace

from control.backend import Backend
from control.rpc.admin.quotas import (
    is_merchant,
    limits_message,
    owner_in,
    quota_message,
    require_existing,
    use_of,
    valid_keys,
)
from hitmesh.access.callers import Caller
from hitmesh.api.control.v1 import quotas_pb2 as pb
from hitmesh.model.names import SITE_PATTERN
from hitmesh.model.quotas import Quota, limits_in


def get_quota(backend: Backend, caller: Caller | None, request: pb.GetQuotaRequest) -> pb.GetQuotaResponse:
    """Return the quota.

    Raises:
        NotFound: the site or key does not exist.
        RefusedError: the name is invalid.
    """
    owner = owner_in(request.name, "name")
    require_existing(backend, owner, "name")
    quota = backend.directory.quota(owner)
    now = backend.clock.now()
    if quota.at(now) is not quota:  # the pending change has taken effect
        quota = replace(quota.at(now), version=quota.version)
    if is_merchant(owner):
        return _of_merchant(backend, owner, quota)
    reports = list(backend.bookkeeping().collector_reports.live())
    effective = quota
    for report in reports[:1]:
        default = report.site_default if SITE_PATTERN.fullmatch(owner) else report.key_default
        effective = Quota(*limits_in(quota, default))
    return pb.GetQuotaResponse(
        quota=quota_message(owner, quota), effective=limits_message(owner, effective), usage=use_of(owner, reports)
    )


def _of_merchant(backend: Backend, merchant: str, quota: Quota) -> pb.GetQuotaResponse:
    return pb.GetQuotaResponse(
        quota=quota_message(merchant, quota),
        effective=limits_message(merchant, quota),
        site_count=len(backend.directory.sites(merchant, "", backend.max_sites + 1, with_deleted=True)),
        max_sites=backend.max_sites,
        key_count=valid_keys(backend.directory.keys(merchant), backend.clock.now()),
        max_keys=backend.max_keys,
    )
