"""UpdateQuota: change the quota of a merchant, site or key. Only operators may change quotas. Idempotent."""

from __future__ import annotations

from control.backend import Backend
from control.rpc.admin.quotas import changed_quota, owner_in, quota_message, require_existing
from hitmesh.access.callers import Caller
from hitmesh.api.control.v1 import quotas_pb2 as pb


def update_quota(backend: Backend, caller: Caller | None, request: pb.UpdateQuotaRequest) -> pb.UpdateQuotaResponse:
    """Return the changed quota.

    Raises:
        NotFound: the site or key does not exist.
        RefusedError: a value is invalid.
    """
    owner = owner_in(request.quota.name, "quota.name")
    require_existing(backend, owner, "quota.name")
    stored = backend.directory.quota(owner)
    changed = changed_quota(stored, request.quota, request.update_mask.paths)
    if changed != stored:
        backend.directory.change_quota(owner, changed)
    return pb.UpdateQuotaResponse(quota=quota_message(owner, changed))
