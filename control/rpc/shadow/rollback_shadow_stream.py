"""RollbackShadowStream: let reports read the live stream again, in one conditional write. Idempotent."""

from __future__ import annotations

from control.backend import Backend
from control.rpc.shadow.requests import answer_change, refuse_state
from hitmesh.access.callers import Caller
from hitmesh.api.control.v1 import shadow_pb2 as pb
from hitmesh.model.streams import ShadowState, StreamTable


def rollback_shadow_stream(
    backend: Backend, caller: Caller | None, request: pb.RollbackShadowStreamRequest
) -> pb.RollbackShadowStreamResponse:
    """Return the shadow stream, which reports no longer read.

    A repeated call returns the shadow stream unchanged.

    Raises:
        RefusedError: there is no shadow stream, or the shadow stream is becoming the live stream (WRONG_STATE).
        Unavailable: the stream table changed at every attempt.
    """

    def roll_back(table: StreamTable) -> StreamTable:
        if table.shadow is None or table.shadow.state is ShadowState.ADOPTING:
            cure = "start a shadow stream with the earlier logic"
            if table.shadow is not None:
                cure = f"when the shadow stream is the live stream, {cure}"
            raise refuse_state(table, "rollback", cure)
        if table.shadow.state is ShadowState.RUNNING:
            return table
        return table.moved(ShadowState.RUNNING, backend.clock.now())

    return pb.RollbackShadowStreamResponse(shadow_stream=answer_change(backend, caller, roll_back))
