"""StopShadowStream: end the parallel run of the live stream and the shadow stream. Idempotent."""

from __future__ import annotations

from control.backend import Backend
from control.rpc.shadow.requests import answer_change, refuse_behind
from hitmesh.access.callers import Caller
from hitmesh.api.control.v1 import shadow_pb2 as pb
from hitmesh.model.streams import ShadowState, StreamTable


def stop_shadow_stream(
    backend: Backend, caller: Caller | None, request: pb.StopShadowStreamRequest
) -> pb.StopShadowStreamResponse:
    """Return the shadow stream after the call.

    A published shadow stream becomes the live stream; any other shadow stream is removed.

    Raises:
        RefusedError: the published shadow stream has not caught up (WRONG_STATE).
        Unavailable: the stream table changed at every attempt.
    """

    def stop(table: StreamTable) -> StreamTable:
        if table.shadow is None or table.shadow.state is ShadowState.ADOPTING:
            return table
        if table.shadow.state is ShadowState.RUNNING:
            return table.ended(backend.clock.now())
        refuse_behind(backend.bookkeeping(), table, "stop")
        return table.moved(ShadowState.ADOPTING, backend.clock.now())

    return pb.StopShadowStreamResponse(shadow_stream=answer_change(backend, caller, stop))
