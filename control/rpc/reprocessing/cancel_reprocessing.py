"""CancelReprocessing: cancel a plan, or request that the settler removes the new generations. Idempotent.

If the settler is recomputing site-days, the settler stops and removes the new generations.
"""

from __future__ import annotations

from control.backend import Backend
from control.rpc.reprocessing.requests import answer_request
from hitmesh.access.callers import Caller
from hitmesh.api.control.v1 import reprocessing_pb2 as pb
from hitmesh.model.reprocessings import Work


def cancel_reprocessing(
    backend: Backend, caller: Caller | None, request: pb.CancelReprocessingRequest
) -> pb.CancelReprocessingResponse:
    """Return the cancelled or running reprocessing.

    A cancelled reprocessing is returned unchanged.

    Raises:
        NotFound: the reprocessing does not exist.
        RefusedError: the name is invalid, or the work cannot be requested in this state (WRONG_STATE).
        Unavailable: other callers or the settler changed the reprocessing at every attempt.
    """
    return pb.CancelReprocessingResponse(reprocessing=answer_request(backend, caller, request.name, Work.CANCEL))
