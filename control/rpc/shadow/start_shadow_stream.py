"""StartShadowStream: run a corrected stream beside the live stream. Idempotent."""

from __future__ import annotations

from control.backend import Backend
from control.rpc.shadow.requests import answer_change, new_stream, refuse_state
from hitmesh.api.control.v1 import shadow_pb2 as pb
from hitmesh.model.errors import RefusedError
from hitmesh.model.logic import logic_named
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.sites import IngestKey
from hitmesh.model.streams import StreamTable


def start_shadow_stream(
    backend: Backend, caller: IngestKey | None, request: pb.StartShadowStreamRequest
) -> pb.StartShadowStreamResponse:
    """Return the shadow stream; unchanged if it runs already with the same logic.

    Raises:
        Unauthenticated, PermissionDenied: the caller is no operator.
        RefusedError: the logic version does not exist; or another shadow stream runs, the log no longer has the needed
            records, or shadow streams are not allowed in this mesh (WRONG_STATE).
        Unavailable: the stream table changed at every attempt.
    """

    def start(table: StreamTable) -> StreamTable:
        if not backend.shadow_streams:
            raise RefusedError(
                "shadow streams on Kafka, Cassandra and Druid are not tested yet: change the processor's setting "
                "HITMESH_PROCESSOR_LOGIC instead, or allow them with HITMESH_CONTROL_SHADOW_ON_SERVERS=true",
                reason=ErrorReason.WRONG_STATE,
            )
        logic = logic_named(request.logic)
        if table.shadow is None:
            return table.started(new_stream(backend.bookkeeping(), table, logic), backend.clock.now())
        if table.shadow.stream.logic != logic.name:
            raise refuse_state(table, "start", "stop the shadow stream first")
        return table

    return pb.StartShadowStreamResponse(shadow_stream=answer_change(backend, caller, start))
