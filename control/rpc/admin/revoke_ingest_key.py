"""RevokeIngestKey: revoke a key of the caller's merchant permanently. Idempotent."""

from __future__ import annotations

from control.backend import Backend
from control.rpc.admin.key_messages import key_message
from control.rpc.admin.names import checked_key_name
from hitmesh.access.callers import Caller
from hitmesh.api.control.v1 import admin_pb2 as pb


def revoke_ingest_key(
    backend: Backend, caller: Caller | None, request: pb.RevokeIngestKeyRequest
) -> pb.RevokeIngestKeyResponse:
    """Return the revoked key.

    Raises:
        NotFound: the merchant does not have the key.
    """
    merchant, key_id = checked_key_name(request.name)
    return pb.RevokeIngestKeyResponse(
        key=key_message(backend.directory.revoke_key(merchant, key_id, backend.clock.now()))
    )
