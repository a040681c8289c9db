"""The ledger of a site, waited for: hits on their way between two stores look like a loss for a moment."""

from __future__ import annotations

import grpc

from hitmesh.api.control.v1 import operations_pb2
from hitmesh.client.mesh import CALL_TIMEOUT_S, Mesh
from hitmesh.client.visibility import Wait

# Who may not see hits of no site is answered with these.
_NOT_SHOWN = frozenset({grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED})


def balanced_ledger(
    mesh: Mesh, site: str, wait: Wait, *, since: str = "", until: str = ""
) -> operations_pb2.GetLedgerResponse:
    """Returns the ledger of a site as soon as it balances, or as it is when the time is over.

    Args:
        mesh: whose.
        site: full name.
        wait: how long.
        since: first UTC day that is listed, as "2026-11-01", or empty.
        until: last one, or empty.

    Raises:
        grpc.RpcError: the reporter refuses.
    """
    request = operations_pb2.GetLedgerRequest(site=site, since=since, until=until)
    ends_s = wait.clock_s() + wait.timeout_s
    while True:
        found = mesh.operations.GetLedger(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)
        if not found.imbalance or wait.clock_s() >= ends_s:
            return found
        wait.sleep(wait.poll_s)


def siteless_totals(mesh: Mesh) -> operations_pb2.LedgerTotals | None:
    """Returns the totals of hits that named no site; None where they are not shown to the caller."""
    request = operations_pb2.GetSitelessLedgerRequest()
    try:
        return mesh.operations.GetSitelessLedger(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials).totals
    except grpc.RpcError as error:
        if error.code() in _NOT_SHOWN:
            return None
        raise
