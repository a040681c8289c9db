"""Polls a site's ledger until the ledger balances.

For a moment, a hit in transit between two stores looks like a lost hit.
"""

from __future__ import annotations

import grpc
from google.type.date_pb2 import Date

from hitmesh.api.control.v1 import operations_pb2
from hitmesh.client.mesh import CALL_TIMEOUT_S, Mesh
from hitmesh.client.visibility import Wait

# If the caller may not read the totals of hits without a site, the call ends with a status code in this set. The public
# listener of a mesh answers UNIMPLEMENTED.
_NOT_SHOWN = frozenset(
    {grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNIMPLEMENTED}
)


def balanced_ledger(
    mesh: Mesh, site: str, wait: Wait, *, first: Date | None = None, last: Date | None = None
) -> operations_pb2.GetLedgerResponse:
    """Return a site's ledger as soon as the ledger balances.

    After the timeout, return the last response.

    Args:
        mesh: the mesh that has the site.
        site: full site name.
        wait: timeout and poll interval.
        first: first UTC day to list, or None.
        last: last UTC day to list, or None.

    Raises:
        grpc.RpcError: the control service refuses the call.
    """
    request = operations_pb2.GetLedgerRequest(site=site, first_utc_date=first, last_utc_date=last)
    ends_s = wait.clock_s() + wait.timeout_s
    while True:
        found = mesh.operations.GetLedger(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)
        if not found.imbalance or wait.clock_s() >= ends_s:
            return found
        wait.sleep(wait.poll_s)


def siteless_totals(mesh: Mesh) -> operations_pb2.LedgerTotals | None:
    """Return the ledger totals for hits without a site, or None if the caller may not read them.

    Args:
        mesh: the mesh's listener for operators.
    """
    request = operations_pb2.GetSitelessLedgerRequest()
    try:
        return mesh.operations.GetSitelessLedger(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials).totals
    except grpc.RpcError as error:
        if error.code() in _NOT_SHOWN:
            return None
        raise
