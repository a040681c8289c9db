"""GetRejectedHit: return a refusal with its kept bytes."""

from __future__ import annotations

from control.backend import Backend
from control.rpc.rejected.messages import OPERATOR_RULE, not_found, rejected_message
from hitmesh.access.callers import require_operator
from hitmesh.api.control.v1 import rejected_hits_pb2 as pb
from hitmesh.model.refusals import key_in
from hitmesh.model.sites import IngestKey


def get_rejected_hit(
    backend: Backend, caller: IngestKey | None, request: pb.GetRejectedHitRequest
) -> pb.GetRejectedHitResponse:
    """Return a refusal.

    Raises:
        Unauthenticated, PermissionDenied: the caller is no operator.
        RefusedError: the name is invalid.
        NotFound: the refusal does not exist.
    """
    require_operator(caller, False, OPERATOR_RULE)
    key = key_in(request.name)
    found = backend.bookkeeping().rejected.get(key)
    if found is None:
        raise not_found(key)
    return pb.GetRejectedHitResponse(rejected_hit=rejected_message(found))
