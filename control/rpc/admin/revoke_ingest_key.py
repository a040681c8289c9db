"""RevokeIngestKey: revoke a key of the caller's merchant permanently. Idempotent."""

from __future__ import annotations

from control.backend import Backend
from control.rpc.admin.names import checked_key_name, key_message
from hitmesh.access.callers import require_owner
from hitmesh.api.control.v1 import admin_pb2 as pb
from hitmesh.model.sites import IngestKey


def revoke_ingest_key(
    backend: Backend, caller: IngestKey | None, request: pb.RevokeIngestKeyRequest
) -> pb.RevokeIngestKeyResponse:
    """Return the revoked key.

    Raises:
        Unauthenticated, PermissionDenied: the caller does not own the merchant.
        NotFound: the merchant does not have the key.
    """
    merchant, key_id = checked_key_name(request.name)
    require_owner(caller, merchant)
    return pb.RevokeIngestKeyResponse(
        key=key_message(backend.directory.revoke_key(merchant, key_id, backend.clock.now()))
    )
