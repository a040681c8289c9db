"""GetReprocessing: return a reprocessing with its state and progress."""

from __future__ import annotations

from control.backend import Backend
from control.rpc.reprocessing.damage import note_damage
from control.rpc.reprocessing.messages import reprocessing_message
from control.rpc.reprocessing.names import id_of, not_found
from control.rpc.reprocessing.speed import measured_speed
from hitmesh.access.callers import Caller
from hitmesh.api.control.v1 import reprocessing_pb2 as pb


def get_reprocessing(
    backend: Backend, caller: Caller | None, request: pb.GetReprocessingRequest
) -> pb.GetReprocessingResponse:
    """Return the reprocessing.

    Raises:
        NotFound: the reprocessing does not exist.
        RefusedError: the name is invalid.
    """
    id_ = id_of(request.name)
    stored = backend.bookkeeping().reprocessings
    found = stored.get(id_)
    if found is None:
        raise not_found(request.name)
    message = reprocessing_message(found, backend.clock.now(), measured_speed(stored.all(note_damage)))
    return pb.GetReprocessingResponse(reprocessing=message)
