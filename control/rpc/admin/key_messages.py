"""Keys as messages, and the key that a request names."""

from __future__ import annotations

from typing import Final

from control.backend import Backend
from control.rpc.admin.merchants import existing_merchant
from control.rpc.admin.names import checked_key_name
from hitmesh.access.roles import roles_of
from hitmesh.api.control.v1 import admin_pb2 as pb
from hitmesh.model.errors import NotFound, RefusedError
from hitmesh.model.names import ingest_key_name
from hitmesh.model.reasons import ErrorReason
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


def key_message(key: IngestKey) -> pb.IngestKey:
    """Return a key as a message, without the secret."""
    return pb.IngestKey(
        name=ingest_key_name(key.merchant, key.key_id),
        kind=_KIND_NUMBERS[key.kind],
        site=key.site,
        unbounded_history=key.unbounded_history,
        create_time=timestamp(key.created_at),
        revoke_time=None if key.revoked_at is None else timestamp(key.revoked_at),
        roles=[number for number, role in ROLES.items() if role in roles_of(key)],
        display_name=key.display_name,
        prefix=key.prefix,
        expire_time=None if key.expires_at is None else timestamp(key.expires_at),
        etag=etag_of(key),
        update_time=timestamp(key.created_at if key.updated_at is None else key.updated_at),
        rotated_from=None if key.rotated_from is None else ingest_key_name(key.merchant, key.rotated_from),
    )


def etag_of(key: IngestKey) -> str:
    """Return the etag of a version of a key."""
    return f"{key.created_at:x}-{key.version}"


def require_etag(key: IngestKey, etag: str, field: str) -> None:
    """Raise unless a request's etag is empty or current.

    Raises:
        RefusedError: ETAG_MISMATCH.
    """
    if etag and etag != etag_of(key):
        raise etag_mismatch(etag, field)


def etag_mismatch(etag: str, field: str) -> RefusedError:
    """Return the error for an etag that is not current."""
    return RefusedError(
        f"the key was changed since etag {etag[:64]!r} was read: read the key with GetIngestKey, and repeat the change "
        "with its etag",
        field=field,
        reason=ErrorReason.ETAG_MISMATCH,
        value=etag[:64],
    )


def found_key(backend: Backend, name: str, field: str = "name") -> IngestKey:
    """Return the key with a full name, for a caller who is authorised for its merchant.

    Raises:
        NotFound: the merchant does not exist, is deleted, or does not have the key.
        RefusedError: the text is not a key name.
    """
    merchant, key_id = checked_key_name(name, field)
    existing_merchant(backend, merchant, field)
    key = backend.directory.key_with_id(merchant, key_id)
    if key is None:
        raise NotFound(f"{merchant} has no key {key_id}", field=field, merchant=merchant, key_id=key_id)
    return key
