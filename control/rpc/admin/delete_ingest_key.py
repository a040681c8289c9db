"""DeleteIngestKey: delete a key that was revoked or has expired."""

from __future__ import annotations

from control.backend import Backend
from control.rpc.admin.key_messages import etag_mismatch, found_key, require_etag
from hitmesh.access.callers import Caller
from hitmesh.api.control.v1 import admin_pb2 as pb
from hitmesh.model.errors import RefusedError
from hitmesh.model.reasons import ErrorReason


def delete_ingest_key(
    backend: Backend, _caller: Caller | None, request: pb.DeleteIngestKeyRequest
) -> pb.DeleteIngestKeyResponse:
    """Delete the key, its quota and the hash of its secret.

    Raises:
        NotFound: the merchant does not have the key.
        RefusedError: the key is valid (WRONG_STATE), or was changed since the etag was read (ETAG_MISMATCH).
    """
    while True:
        key = found_key(backend, request.name)
        require_etag(key, request.etag, "etag")
        if not key.is_ended(backend.clock.now()):
            raise RefusedError(
                f"key {key.key_id} is valid: revoke the key with RevokeIngestKey before you delete the key",
                field="name",
                reason=ErrorReason.WRONG_STATE,
                value=key.key_id,
            )
        if backend.directory.delete_key(key):
            return pb.DeleteIngestKeyResponse()
        if request.etag:
            raise etag_mismatch(request.etag, "etag")
