"""Identifies the caller of an RPC from the call's metadata: a key, or the token (JWT) of a person or service.

A caller is a small immutable value. Checks (hitmesh.access.checks) use only this value, and never the credential from
which the value was made.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from hitmesh.access.key_endings import ending_of
from hitmesh.access.roles import roles_of
from hitmesh.model.errors import Unauthenticated
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.sites import IngestKey, Role
from hitmesh.ports import Clock, SiteDirectory
from hitmesh.runtime.token_settings import TokenSettings

TOKEN_KIND: Final = "token"
"""The kind of callers with a token; all other kinds are kinds of keys."""
_SCHEME = "bearer "
_FIELD: Final = "authorization"
# A token has two dots between its three parts, and no key has a dot.
_TOKEN_MARK: Final = "."


@dataclass(frozen=True, slots=True)
class Caller:
    """The authenticated caller of an RPC.

    Attributes:
        merchant: the merchant to which the roles apply, `merchants/{m}`. For operators, hitmesh.model.names.OPERATORS.
        roles: the roles that the credential grants.
        kind: the kind of the credential for messages, such as `server`, or TOKEN_KIND.
        id: the credential's id without secrets: the key id, or the subject of the token.
        site: the only site to which the roles apply; None for all sites of the merchant.
    """

    merchant: str
    roles: frozenset[Role]
    kind: str
    id: str
    site: str | None = None


def credential_of(kind: str) -> str:
    """Return a caller's kind as a noun, such as `server key`."""
    return kind if kind == TOKEN_KIND else f"{kind} key"


class TokenReader(Protocol):
    """Checks tokens. An implementation needs the public keys and the rules of an issuer."""

    def caller_with(self, token: str) -> Caller:
        """Return the caller that uses a valid token.

        Raises:
            Unauthenticated: the token is not valid (INVALID_TOKEN, TOKEN_EXPIRED).
            Unavailable: the issuer's keys are not available at the moment.
        """


def open_tokens(settings: TokenSettings, clock: Clock) -> TokenReader | None:
    """Return the reader of tokens for a service, or None if the service accepts no tokens.

    Raises:
        Unavailable: the file with the keys cannot be read.
        RefusedError: the file has no usable keys, or the URL is not allowed (INVALID_CONFIG).
    """
    if not settings.jwks:
        return None
    from hitmesh.access.token_callers import open_reader  # the JWT library takes 0.1 s of CPU

    return open_reader(settings, clock)


def caller_with_key(key: IngestKey) -> Caller:
    """Return the caller that uses a valid key."""
    return Caller(key.merchant, roles_of(key), key.kind.value, key.key_id, key.site)


def bearer_credential(header: str) -> str:
    """Return the key or token in the value of an `authorization` header, or "" for another scheme than Bearer."""
    return header[len(_SCHEME) :].strip() if header.lower().startswith(_SCHEME) else ""


def bearer_key(header: str) -> str:
    """Return the key in the value of an `authorization` header, or "" for a token or another scheme than Bearer."""
    credential = bearer_credential(header)
    return "" if _TOKEN_MARK in credential else credential


def caller_of(
    directory: SiteDirectory,
    metadata: Iterable[tuple[str, str | bytes]],
    tokens: TokenReader | None = None,
    *,
    now: int,
) -> Caller | None:
    """Return the caller with the bearer key or token in the metadata `authorization`, or None without such metadata.

    Args:
        directory: source of keys.
        metadata: the metadata of the call.
        tokens: reads tokens; None if tokens are refused.
        now: the current time in UTC ms.

    Raises:
        Unauthenticated: the key is unknown (UNKNOWN_KEY), revoked (KEY_REVOKED) or expired (KEY_EXPIRED), the token is
            not valid (INVALID_TOKEN, TOKEN_EXPIRED), or there are several headers.
        Unavailable: the keys of the token's issuer are not available at the moment.
    """
    headers = [value for name, value in metadata if name == _FIELD]
    if not headers:
        return None
    if len(headers) > 1:
        raise Unauthenticated("the call has several authorization headers: send a single key or token", field=_FIELD)
    text = headers[0].decode("utf-8", "replace") if isinstance(headers[0], bytes) else headers[0]
    credential = bearer_credential(text)
    if _TOKEN_MARK not in credential:
        return _caller_with_secret(directory, credential, now)
    if tokens is None:
        raise Unauthenticated(
            "this mesh accepts no tokens: send a key as authorization: Bearer <key>, or configure the tokens' issuer",
            field=_FIELD,
            reason=ErrorReason.INVALID_TOKEN,
        )
    return tokens.caller_with(credential)


def _caller_with_secret(directory: SiteDirectory, secret: str, now: int) -> Caller:
    key = directory.key(secret) if secret else None
    if key is None:
        raise Unauthenticated(
            "the authorization header has no known key: send a server key, or an operator's key where the call needs "
            "such a key, as authorization: Bearer <key>",
            field=_FIELD,
        )
    ending = ending_of(key, now, _FIELD)
    if ending is not None:
        raise ending
    return caller_with_key(key)
