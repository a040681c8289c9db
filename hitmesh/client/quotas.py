"""Reads and changes quotas for merchants, sites and keys through the admin service of a mesh."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from hitmesh.api.control.v1 import quotas_pb2
from hitmesh.client.mesh import CALL_TIMEOUT_S, Mesh


def get_quota(mesh: Mesh, owner: str) -> quotas_pb2.GetQuotaResponse:
    """Return a merchant's, site's or key's quota, with its present use; `owner` is the full name."""
    request = quotas_pb2.GetQuotaRequest(name=f"{owner}/quota")
    return mesh.admin.GetQuota(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)


def update_quota(
    mesh: Mesh, owner: str, limits: Mapping[str, int | None], *, effective_time: datetime | None = None, etag: str = ""
) -> quotas_pb2.Quota:
    """Change limits, now or at a later time, and return the quota.

    Args:
        mesh: a mesh with an operator's key.
        owner: a merchant's, site's or key's full name.
        limits: new limits by field name; None means the default.
        effective_time: from when on the limits apply; None means now.
        etag: if not empty, the change is refused unless this is the current etag.
    """
    quota = quotas_pb2.Quota(name=f"{owner}/quota", etag=etag)
    for field, limit in limits.items():
        if limit is not None:
            setattr(quota, field, limit)
    request = quotas_pb2.UpdateQuotaRequest(quota=quota)
    request.update_mask.paths.extend(limits)
    if effective_time is not None:
        request.effective_time.FromDatetime(effective_time)
    return mesh.admin.UpdateQuota(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials).quota
