"""RollbackReprocessing: request that the settler makes the old generations current again. Idempotent."""

from __future__ import annotations

from control.backend import Backend
from control.rpc.reprocessing.requests import answer_request
from hitmesh.access.callers import Caller
from hitmesh.api.control.v1 import reprocessing_pb2 as pb
from hitmesh.model.reprocessings import Work


def rollback_reprocessing(
    backend: Backend, caller: Caller | None, request: pb.RollbackReprocessingRequest
) -> pb.RollbackReprocessingResponse:
    """Return the running reprocessing.

    A repeated request returns the reprocessing unchanged.

    Raises:
        NotFound: the reprocessing does not exist.
        RefusedError: the name is invalid, the state does not allow the work (WRONG_STATE), or the work conflicts with
            another reprocessing of the same site-days (REPROCESSING_CONFLICT).
        Unavailable: other callers or the settler changed the reprocessing at every attempt.
    """
    return pb.RollbackReprocessingResponse(reprocessing=answer_request(backend, caller, request.name, Work.ROLL_BACK))
