"""RunReprocessing: request that the settler recomputes the site-days. Idempotent."""

from __future__ import annotations

from control.backend import Backend
from control.rpc.reprocessing.requests import answer_request
from hitmesh.access.callers import Caller
from hitmesh.api.control.v1 import reprocessing_pb2 as pb
from hitmesh.model.reprocessings import Work


def run_reprocessing(
    backend: Backend, caller: Caller | None, request: pb.RunReprocessingRequest
) -> pb.RunReprocessingResponse:
    """Return the running reprocessing.

    A reprocessing that runs already, or whose difference can be read, is returned unchanged.

    Raises:
        NotFound: the reprocessing does not exist.
        RefusedError: the name is invalid, the state does not allow the work (WRONG_STATE), or the work conflicts with
            another reprocessing of the same site-days (REPROCESSING_CONFLICT).
        Unavailable: other callers or the settler changed the reprocessing at every attempt.
    """
    return pb.RunReprocessingResponse(reprocessing=answer_request(backend, caller, request.name, Work.RECOMPUTE))
