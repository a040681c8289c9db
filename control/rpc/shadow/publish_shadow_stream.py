"""PublishShadowStream: let reports read the shadow stream, in one conditional write. Idempotent."""

from __future__ import annotations

from control.backend import Backend
from control.rpc.shadow.requests import answer_change, refuse_behind, refuse_state
from hitmesh.access.callers import Caller
from hitmesh.api.control.v1 import shadow_pb2 as pb
from hitmesh.model.streams import ShadowState, StreamTable


def publish_shadow_stream(
    backend: Backend, caller: Caller | None, request: pb.PublishShadowStreamRequest
) -> pb.PublishShadowStreamResponse:
    """Return the published shadow stream.

    A repeated call returns the shadow stream unchanged.

    Raises:
        RefusedError: there is no shadow stream, or the shadow stream has not caught up (WRONG_STATE).
        Unavailable: the stream table changed at every attempt.
    """

    def publish(table: StreamTable) -> StreamTable:
        if table.shadow is None:
            raise refuse_state(table, "publish", "start a shadow stream first")
        if table.shadow.is_read:
            return table
        refuse_behind(backend.bookkeeping(), table, "publish")
        return table.moved(ShadowState.PUBLISHED, backend.clock.now())

    return pb.PublishShadowStreamResponse(shadow_stream=answer_change(backend, caller, publish))
