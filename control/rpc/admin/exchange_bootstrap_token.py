"""ExchangeBootstrapToken: exchange the token that `hitmesh init` printed for an operator's key.

The caller needs no key: the token is the credential. Only the response contains the key's secret.
"""

from __future__ import annotations

from typing import Final

from control.backend import Backend
from hitmesh.access.bootstrap import exchange
from hitmesh.access.callers import Caller
from hitmesh.api.control.v1 import admin_pb2 as pb
from hitmesh.model.errors import RefusedError
from hitmesh.model.reasons import ErrorReason

MAX_TOKEN_CHARS: Final = 256


def exchange_bootstrap_token(
    backend: Backend, _caller: Caller | None, request: pb.ExchangeBootstrapTokenRequest
) -> pb.ExchangeBootstrapTokenResponse:
    """Return the id and the secret of the new key. No error message contains the token.

    Raises:
        Unauthenticated: the token is unknown, used, replaced or expired.
        RefusedError: the token is missing or too long.
    """
    if not request.token:
        raise RefusedError(
            "token is not set: send the token that `hitmesh init` printed",
            field="token",
            reason=ErrorReason.MISSING_FIELD,
        )
    if len(request.token) > MAX_TOKEN_CHARS:
        raise RefusedError(
            f"token has more than {MAX_TOKEN_CHARS} characters: send the token that `hitmesh init` printed",
            field="token",
            limit=MAX_TOKEN_CHARS,
        )
    key, secret = exchange(backend.directory, request.token, backend.clock.now(), backend.new_token)
    return pb.ExchangeBootstrapTokenResponse(key_id=key.key_id, secret=secret)
