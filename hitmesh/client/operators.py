"""Exchanges a bootstrap token for an operator's key."""

from __future__ import annotations

from hitmesh.api.control.v1 import admin_pb2
from hitmesh.client.mesh import CALL_TIMEOUT_S, Mesh


def exchange_token(mesh: Mesh, token: str) -> admin_pb2.ExchangeBootstrapTokenResponse:
    """Return the id and the secret of a new operator's key for a bootstrap token, which is then used up.

    Raises:
        grpc.RpcError: the token is unknown, used, replaced or expired (UNAUTHENTICATED), or the call fails.
    """
    request = admin_pb2.ExchangeBootstrapTokenRequest(token=token)
    return mesh.admin.ExchangeBootstrapToken(request, timeout=CALL_TIMEOUT_S)
