"""StartShadowStream: run a corrected stream beside the live stream. Idempotent."""

from __future__ import annotations

from control.backend import Backend
from control.rpc.shadow.requests import answer_change, new_stream, refuse_state
from hitmesh.access.callers import Caller
from hitmesh.api.control.v1 import shadow_pb2 as pb
from hitmesh.model.logic import logic_named
from hitmesh.model.streams import StreamTable


def start_shadow_stream(
    backend: Backend, caller: Caller | None, request: pb.StartShadowStreamRequest
) -> pb.StartShadowStreamResponse:
    """Return the shadow stream.

    A shadow stream that runs already with the same logic is returned unchanged.

    Raises:
        RefusedError: the logic version does not exist, another shadow stream runs (WRONG_STATE), or the log no longer
            has the needed records (WRONG_STATE).
        Unavailable: the stream table changed at every attempt.
    """

    def start(table: StreamTable) -> StreamTable:
        logic = logic_named(request.logic)
        if table.shadow is None:
            return table.started(new_stream(backend.bookkeeping(), table, logic), backend.clock.now())
        if table.shadow.stream.logic != logic.name:
            raise refuse_state(table, "start", "stop the shadow stream first")
        return table

    return pb.StartShadowStreamResponse(shadow_stream=answer_change(backend, caller, start))
