"""GetIngestKey: return a key without its secret."""

from __future__ import annotations

from control.backend import Backend
from control.rpc.admin.key_messages import found_key, key_message
from hitmesh.access.callers import Caller
from hitmesh.api.control.v1 import admin_pb2 as pb


def get_ingest_key(
    backend: Backend, _caller: Caller | None, request: pb.GetIngestKeyRequest
) -> pb.GetIngestKeyResponse:
    """Return the key.

    Raises:
        NotFound: the merchant does not have the key.
        RefusedError: the name is invalid.
    """
    return pb.GetIngestKeyResponse(key=key_message(found_key(backend, request.name)))
