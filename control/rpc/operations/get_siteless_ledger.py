"""GetSitelessLedger: account for hits without a site, such as hits in records that do not decode."""

from __future__ import annotations

from typing import Final

from control.backend import Backend
from control.ledger import siteless_totals
from control.rpc.operations.ledger_messages import totals_message
from hitmesh.access.callers import Caller
from hitmesh.api.control.v1 import operations_pb2 as pb

_NO_SITE: Final = ""


def get_siteless_ledger(
    backend: Backend, caller: Caller | None, request: pb.GetSitelessLedgerRequest
) -> pb.GetSitelessLedgerResponse:
    """Return the totals for hits without a site."""
    sums = backend.bookkeeping().ledger.read(_NO_SITE)
    return pb.GetSitelessLedgerResponse(totals=totals_message(siteless_totals(sums)))
