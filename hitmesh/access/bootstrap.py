"""The bootstrap token, with which the first operator gets a key.

`hitmesh init` creates a token for a mesh without an operator. ExchangeBootstrapToken exchanges the token for an
operator's key. A token is a random text, which is stored only as a hash, like a key. A token works once and for
TOKEN_MS. A token is no key: a token has no role.

The id of the operator's key is derived from the token's id, and a directory stores a key id only once. Of two
exchanges of a token at the same time, one therefore fails, in every process and after every crash.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final

from hitmesh.model.errors import AlreadyExists, Unauthenticated
from hitmesh.model.names import BOOTSTRAP, OPERATORS
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.sites import IngestKey, KeyKind
from hitmesh.ports import SiteDirectory

TOKEN_MS: Final = 60 * 60_000
TOKEN_PREFIX: Final = "hmb_"
_TOKEN_BYTES: Final = 32
_ID_BYTES: Final = 8
_CURE: Final = "make a new token with `hitmesh init --bootstrap-token`"


def has_operator(directory: SiteDirectory) -> bool:
    """Return whether an operator's key exists that was not revoked."""
    return any(key.revoked_at is None for key in directory.keys(OPERATORS))


def new_bootstrap_token(directory: SiteDirectory, now: int) -> str:
    """Create a token and return the token, which is stored only as a hash. All earlier tokens become invalid.

    Args:
        directory: the mesh's directory.
        now: the current time in UTC ms.
    """
    for earlier in directory.keys(BOOTSTRAP):
        if earlier.revoked_at is None:
            directory.revoke_key(BOOTSTRAP, earlier.key_id, now)
    token = TOKEN_PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
    key_id = secrets.token_hex(_ID_BYTES)
    directory.create_key(IngestKey(key_id, BOOTSTRAP, KeyKind.BOOTSTRAP, created_at=now), token)
    return token


def exchange(directory: SiteDirectory, token: str, now: int, new_secret: Callable[[], str]) -> tuple[IngestKey, str]:
    """Return a new operator's key and its secret for a token.

    Args:
        directory: the mesh's directory.
        token: the token.
        now: the current time in UTC ms.
        new_secret: returns a new random secret.

    Raises:
        Unauthenticated: the token is unknown (UNKNOWN_KEY), or was used or replaced, or has expired (KEY_REVOKED).
        KeyNotLookedUp: callers sent too many unknown keys.
    """
    known = directory.key(token)
    if known is None or known.kind is not KeyKind.BOOTSTRAP:
        raise Unauthenticated(
            f"the bootstrap token is not known: copy the token that `hitmesh init` printed, or {_CURE}", field="token"
        )
    if known.revoked_at is not None:
        raise _invalid("was used or replaced")
    if now - known.created_at >= TOKEN_MS:
        raise _invalid(f"has expired after {TOKEN_MS // 60_000} minutes")
    secret = new_secret()
    key = IngestKey(f"operator-{known.key_id}", OPERATORS, KeyKind.OPERATOR, created_at=now)
    try:
        stored = directory.create_key(key, secret)
    except AlreadyExists as error:
        raise _invalid("was used or replaced") from error
    directory.revoke_key(BOOTSTRAP, known.key_id, now)
    return stored, secret


def _invalid(why: str) -> Unauthenticated:
    return Unauthenticated(f"the bootstrap token {why}: {_CURE}", field="token", reason=ErrorReason.KEY_REVOKED)
