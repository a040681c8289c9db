"""UpdateQuota: change the quota of a merchant, site or key, now or later. Only for operators. Idempotent."""

from __future__ import annotations

from dataclasses import replace

from control.backend import Backend
from control.rpc.admin.quotas import changed_quota, etag_of, owner_in, quota_message, require_existing
from hitmesh.access.callers import Caller
from hitmesh.api.control.v1 import quotas_pb2 as pb
from hitmesh.model.errors import RefusedError
from hitmesh.model.quotas import MAX_QUOTA_AHEAD_MS, PendingQuota, Quota
from hitmesh.model.reasons import ErrorReason
from hitmesh.runtime.rpc_values import milliseconds


def update_quota(backend: Backend, caller: Caller | None, request: pb.UpdateQuotaRequest) -> pb.UpdateQuotaResponse:
    """Return the changed quota. A change that changes nothing keeps the etag.

    Raises:
        NotFound: the merchant, site or key does not exist.
        RefusedError: a value is invalid, or the quota was changed since the etag was read (ETAG_MISMATCH).
    """
    owner = owner_in(request.quota.name, "quota.name")
    require_existing(backend, owner, "quota.name")
    now, etag = backend.clock.now(), request.quota.etag
    effective_at = _effective_at(request, now)
    while True:
        stored = backend.directory.quota(owner)
        if etag and etag != etag_of(stored):
            raise _changed_since(etag)
        wanted = _wanted(stored, request, now, effective_at)
        if wanted == stored:
            backend.directory.announce(owner)
            break
        if backend.directory.change_quota(owner, wanted, stored.version):
            break  # otherwise another caller changed the quota at the same time
    return pb.UpdateQuotaResponse(quota=quota_message(owner, backend.directory.quota(owner)))


def _wanted(stored: Quota, request: pb.UpdateQuotaRequest, now: int, effective_at: int) -> Quota:
    current = replace(stored.at(now), pending=None)
    changed = changed_quota(current, request.quota, request.update_mask.paths)
    return changed if effective_at <= now else replace(current, pending=PendingQuota(effective_at, changed))


def _effective_at(request: pb.UpdateQuotaRequest, now: int) -> int:
    """Return the time of the change in UTC ms.

    Raises:
        RefusedError: the time is too late or not valid.
    """
    if not request.HasField("effective_time"):
        return now
    effective_at = milliseconds(request.effective_time, "effective_time")
    if effective_at > now + MAX_QUOTA_AHEAD_MS:
        value = request.effective_time.ToJsonString()
        raise RefusedError(
            f"effective_time {value} is more than 366 days ahead: choose an earlier time",
            field="effective_time",
            value=value,
        )
    return effective_at


def _changed_since(etag: str) -> RefusedError:
    value = etag[:64]
    return RefusedError(
        f"the quota was changed since etag {value!r} was read: read the quota with GetQuota, and repeat the change "
        "with its etag",
        field="quota.etag",
        reason=ErrorReason.ETAG_MISMATCH,
        value=value,
    )
