"""GetShadowStream: return the shadow stream's state, and its lag behind the live stream."""

from __future__ import annotations

from control.backend import Backend
from control.rpc.shadow.requests import READ_RULE, shadow_message
from hitmesh.access.callers import require_operator
from hitmesh.api.control.v1 import shadow_pb2 as pb
from hitmesh.model.sites import IngestKey


def get_shadow_stream(
    backend: Backend, caller: IngestKey | None, request: pb.GetShadowStreamRequest
) -> pb.GetShadowStreamResponse:
    """Return the shadow stream.

    Without a shadow stream, the returned state is UNSPECIFIED.

    Raises:
        Unauthenticated, PermissionDenied: reads need a key, and the caller is no operator.
    """
    require_operator(caller, backend.open_reads, READ_RULE)
    books = backend.bookkeeping()
    table = books.streams.read()
    return pb.GetShadowStreamResponse(shadow_stream=shadow_message(books, table), removed_streams=len(table.gone))
