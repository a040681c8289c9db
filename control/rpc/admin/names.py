"""Names and messages shared by the admin RPCs."""

from __future__ import annotations

import re
from typing import Final

from hitmesh.access.roles import roles_of
from hitmesh.api.control.v1 import admin_pb2 as pb
from hitmesh.model.errors import RefusedError
from hitmesh.model.names import MERCHANT_PATTERN
from hitmesh.model.sites import IngestKey, KeyKind, Role
from hitmesh.runtime.rpc_values import timestamp

# Kinds of keys that a merchant may create. A merchant cannot create operator keys.
KINDS: Final = {
    pb.KEY_KIND_BROWSER: KeyKind.BROWSER,
    pb.KEY_KIND_SERVER: KeyKind.SERVER,
    pb.KEY_KIND_EDGE: KeyKind.EDGE,
}
ROLES: Final = {
    pb.KEY_ROLE_SEND: Role.SEND,
    pb.KEY_ROLE_READ: Role.READ,
    pb.KEY_ROLE_ADMINISTER: Role.ADMINISTER,
}
_KIND_NUMBERS: Final = {kind: number for number, kind in KINDS.items()}
_KEY_NAME: Final = re.compile(r"(merchants/[a-z0-9][a-z0-9-]{0,63})/ingestKeys/([A-Za-z0-9_-]{1,64})")


def checked_merchant(parent: str) -> str:
    """Check a merchant name, and return the name.

    Raises:
        RefusedError: the text is not a merchant name.
    """
    if not MERCHANT_PATTERN.fullmatch(parent):
        raise RefusedError(
            f"parent {parent[:80]!r} is not a merchant: write merchants/ and 1 to 64 characters of a-z, 0-9 and '-'",
            field="parent",
            value=parent,
        )
    return parent


def checked_key_name(name: str) -> tuple[str, str]:
    """Return (merchant, key id) from a key name.

    Raises:
        RefusedError: the text is not a key name.
    """
    found = _KEY_NAME.fullmatch(name)
    if not found:
        raise RefusedError(
            f"name {name[:160]!r} is not a key: write merchants/{{merchant}}/ingestKeys/{{id}}",
            field="name",
            value=name,
        )
    return found[1], found[2]


def key_message(key: IngestKey) -> pb.IngestKey:
    """Return a key as a message, without the secret."""
    return pb.IngestKey(
        name=f"{key.merchant}/ingestKeys/{key.key_id}",
        kind=_KIND_NUMBERS[key.kind],
        site=key.site,
        unbounded_history=key.unbounded_history,
        create_time=timestamp(key.created_at),
        revoke_time=None if key.revoked_at is None else timestamp(key.revoked_at),
        roles=[number for number, role in ROLES.items() if role in roles_of(key)],
    )
