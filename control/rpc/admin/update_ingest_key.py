"""UpdateIngestKey: change a key's display name, expiry or roles. All other fields are immutable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from control.backend import Backend
from control.rpc.admin.key_checks import checked_display_name, checked_expiry, checked_roles
from control.rpc.admin.key_messages import etag_mismatch, found_key, key_message, require_etag
from control.rpc.admin.quotas import refuse_another_key
from hitmesh.access.callers import Caller
from hitmesh.access.roles import roles_of
from hitmesh.api.control.v1 import admin_pb2 as pb
from hitmesh.model.errors import RefusedError
from hitmesh.model.sites import IngestKey

CHANGEABLE: Final = ("display_name", "expire_time", "roles")
_CURE: Final = f"change only {', '.join(CHANGEABLE)}, or create another key with CreateIngestKey"


def update_ingest_key(
    backend: Backend, _caller: Caller | None, request: pb.UpdateIngestKeyRequest
) -> pb.UpdateIngestKeyResponse:
    """Return the changed key. A change that changes nothing keeps the etag.

    Raises:
        NotFound: the merchant does not have the key.
        RefusedError: the mask names an immutable field, a value is invalid, the key was changed since the etag was read
            (ETAG_MISMATCH), or a key that has expired would become valid and the merchant has too many keys
            (TOO_MANY_RESOURCES).
    """
    _refuse_other_paths(request.update_mask.paths)
    etag = request.key.etag
    while True:
        key = found_key(backend, request.key.name, "key.name")
        require_etag(key, etag, "key.etag")
        changed = _changed(key, request, backend.clock.now())
        if changed == key:
            backend.directory.announce(request.key.name)
            return pb.UpdateIngestKeyResponse(key=key_message(key))
        now = backend.clock.now()
        if key.is_ended(now) and not changed.is_ended(now):
            refuse_another_key(backend, key.merchant)
        changed = replace(changed, updated_at=now, version=key.version + 1)
        if backend.directory.change_key(changed):
            return pb.UpdateIngestKeyResponse(key=key_message(changed))
        if etag:
            raise etag_mismatch(etag, "key.etag")


def _changed(key: IngestKey, request: pb.UpdateIngestKeyRequest, now: int) -> IngestKey:
    """Return the key with the wanted values, without a new version."""
    wanted = request.key
    paths = _changed_paths(request.update_mask.paths, wanted, key_message(key))
    if "display_name" in paths:
        key = replace(key, display_name=checked_display_name(wanted.display_name))
    if "expire_time" in paths:
        is_same = wanted.HasField("expire_time") and wanted.expire_time == key_message(key).expire_time
        expires_at = key.expires_at if is_same else None
        if wanted.HasField("expire_time") and not is_same:
            expires_at = checked_expiry(wanted.expire_time, now)
        key = replace(key, expires_at=expires_at)
    if "roles" in paths:
        if not wanted.roles:
            raise RefusedError("roles is empty: name the roles of the key, such as KEY_ROLE_SEND", field="key.roles")
        roles = checked_roles(key.kind, wanted.roles, key.site)
        key = key if roles == roles_of(key) else replace(key, roles=roles)
    return key


def _changed_paths(mask: Sequence[str], wanted: pb.IngestKey, stored: pb.IngestKey) -> Sequence[str]:
    """Return the fields that a request changes; `*` in the mask stands for all changeable fields.

    Raises:
        RefusedError: the mask is empty or has `*`, and an immutable field differs from the stored key.
    """
    if mask and "*" not in mask:
        return mask
    set_fields = _set_fields(wanted, stored)
    return CHANGEABLE if mask else set_fields


def _set_fields(wanted: pb.IngestKey, stored: pb.IngestKey) -> Sequence[str]:
    """Return the changeable fields that a request sets.

    Raises:
        RefusedError: an immutable field differs from the stored key.
    """
    fields = [field.name for field, _ in wanted.ListFields()]
    for name in fields:
        if name not in (*CHANGEABLE, "etag") and getattr(wanted, name) != getattr(stored, name):
            raise RefusedError(
                f"field {name!r} cannot be changed: {_CURE}",
                field=f"key.{name}",
                value=str(getattr(wanted, name))[:64],
            )
    return [name for name in fields if name in CHANGEABLE]


def _refuse_other_paths(paths: Sequence[str]) -> None:
    other = next((path for path in paths if path not in (*CHANGEABLE, "*")), None)
    if other is not None:
        raise RefusedError(
            f"field {other[:64]!r} cannot be changed: {_CURE}",
            field="update_mask",
            value=other[:64],
            known=", ".join(CHANGEABLE),
        )
