"""GetShadowStream: return the shadow stream's state, and its lag behind the live stream."""

from __future__ import annotations

from control.backend import Backend
from control.rpc.shadow.requests import shadow_message
from hitmesh.access.callers import Caller
from hitmesh.api.control.v1 import shadow_pb2 as pb


def get_shadow_stream(
    backend: Backend, caller: Caller | None, request: pb.GetShadowStreamRequest
) -> pb.GetShadowStreamResponse:
    """Return the shadow stream.

    Without a shadow stream, the returned state is UNSPECIFIED.
    """
    books = backend.bookkeeping()
    table = books.streams.read()
    return pb.GetShadowStreamResponse(shadow_stream=shadow_message(books, table), removed_streams=len(table.gone))
