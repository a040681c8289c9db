"""GetRejectedHit: return a refusal with its kept bytes to the site's merchant or an operator."""

from __future__ import annotations

from control.backend import Backend
from control.rpc.rejected.messages import may_read, not_found, rejected_message
from hitmesh.access.callers import Caller
from hitmesh.api.control.v1 import rejected_hits_pb2 as pb
from hitmesh.model.refusals import key_in


def get_rejected_hit(
    backend: Backend, caller: Caller | None, request: pb.GetRejectedHitRequest
) -> pb.GetRejectedHitResponse:
    """Return a refusal.

    Raises:
        RefusedError: the name is invalid.
        NotFound: the refusal does not exist, or its site does not belong to the caller.
    """
    key = key_in(request.name)
    found = backend.bookkeeping().rejected.get(key) if may_read(backend, caller, key.site) else None
    if found is None:
        raise not_found(key)
    return pb.GetRejectedHitResponse(rejected_hit=rejected_message(found))
