"""Functions that check history as an operator, on the stores of a small mesh."""

from __future__ import annotations

from collections.abc import Sequence

from control.history.checking import CheckLimits
from control.rpc.reprocessing.check_history import check_history
from hitmesh.access.callers import caller_with_key
from hitmesh.adapters.factory import Stores
from hitmesh.api.control.v1 import reprocessing_pb2 as pb
from hitmesh.model.checkpoints import unwatched
from hitmesh.model.names import OPERATORS
from hitmesh.model.sites import IngestKey, KeyKind
from hitmesh.ports import Clock
from tests.support.reporters import control_backend

OPERATOR_CALLER = caller_with_key(IngestKey("operator-1", OPERATORS, KeyKind.OPERATOR))


def checked(
    stores: Stores, clock: Clock, sites: Sequence[str], limits: CheckLimits | None = None, **fields: object
) -> list[pb.CheckHistoryResponse]:
    """Return the answers of a check, one per page."""
    backend, pages, token = control_backend(stores, clock, open_reads=False), list[pb.CheckHistoryResponse](), ""
    while token or not pages:
        request = pb.CheckHistoryRequest(sites=sites, page_token=token, **fields)  # type: ignore[arg-type]  # fields
        pages.append(check_history(backend, OPERATOR_CALLER, request, unwatched, limits))
        token = pages[-1].next_page_token
    return pages


def problems(stores: Stores, clock: Clock, sites: Sequence[str], **fields: object) -> list[pb.HistoryProblem]:
    """Return the problems on all pages of a check."""
    return [each for page in checked(stores, clock, sites, **fields) for each in page.problems]  # type: ignore[arg-type]  # fields


def stores_of(problem: pb.HistoryProblem) -> set[str]:
    """Return the stores in which the values of a site-day do not add up."""
    return {pb.CheckedStore.Name(each.store).removeprefix("CHECKED_STORE_").lower() for each in problem.findings}
