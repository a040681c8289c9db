"""Identifies the caller of an RPC from the call's metadata.

A caller is a small immutable value. Checks (hitmesh.access.checks) use only this value, and never the credential from
which the value was made.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from hitmesh.access.roles import roles_of
from hitmesh.model.errors import Unauthenticated
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.sites import IngestKey, Role
from hitmesh.ports import SiteDirectory

_SCHEME = "bearer "


@dataclass(frozen=True, slots=True)
class Caller:
    """The authenticated caller of an RPC.

    Attributes:
        merchant: the merchant to which the roles apply, `merchants/{m}`. For operators, hitmesh.model.names.OPERATORS.
        roles: the roles that the credential grants.
        kind: the kind of the credential for messages, such as `server`.
        id: the credential's id without secrets, such as the key id.
        site: the only site to which the roles apply; None for all sites of the merchant.
    """

    merchant: str
    roles: frozenset[Role]
    kind: str
    id: str
    site: str | None = None


def caller_with_key(key: IngestKey) -> Caller:
    """Return the caller that uses a valid key."""
    return Caller(key.merchant, roles_of(key), key.kind.value, key.key_id, key.site)


def caller_of(directory: SiteDirectory, metadata: Iterable[tuple[str, str | bytes]]) -> Caller | None:
    """Return the caller with the bearer key in the metadata `authorization`, or None without such metadata.

    Raises:
        Unauthenticated: the key is unknown (UNKNOWN_KEY) or revoked (KEY_REVOKED).
    """
    header = next((value for name, value in metadata if name == "authorization"), None)
    if header is None:
        return None
    text = header.decode("utf-8", "replace") if isinstance(header, bytes) else header
    key = directory.key(text[len(_SCHEME) :].strip()) if text.lower().startswith(_SCHEME) else None
    if key is None:
        raise Unauthenticated(
            "the authorization header has no known key: send a server key, or an operator's key where the call needs "
            "such a key, as authorization: Bearer <key>",
            field="authorization",
        )
    if key.revoked_at is not None:
        raise Unauthenticated(
            f"key {key.key_id} was revoked: use another key, or create a key with CreateIngestKey",
            field="authorization",
            reason=ErrorReason.KEY_REVOKED,
            key_id=key.key_id,
        )
    return caller_with_key(key)
