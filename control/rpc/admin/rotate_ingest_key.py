"""RotateIngestKey: create a key that replaces a valid key, and let the replaced key expire after an overlap.

The new key is stored before the replaced key's expiry, so that a crash between both writes never leaves a merchant
without a valid key. The id of the new key is derived from `request_id`, and a directory stores a key id only once. A
repeated request sets the expiry only if the replaced key has not changed since the new key was created, which means
that the first request failed between both writes.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from dataclasses import replace
from functools import partial
from hashlib import blake2b
from typing import Final

from control.backend import Backend
from control.rpc.admin.key_checks import checked_overlap
from control.rpc.admin.key_messages import found_key, key_message
from control.rpc.admin.merchants import undo_without_merchant
from control.rpc.admin.quotas import refuse_another_key, valid_keys
from hitmesh.access.callers import Caller
from hitmesh.api.control.v1 import admin_pb2 as pb
from hitmesh.model.errors import AlreadyExists, RefusedError
from hitmesh.model.key_secrets import shown_prefix
from hitmesh.model.names import ingest_key_name
from hitmesh.model.quotas import NO_QUOTA
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.sites import IngestKey

_ID_BYTES: Final = 12
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def rotate_ingest_key(
    backend: Backend, _caller: Caller | None, request: pb.RotateIngestKeyRequest
) -> pb.RotateIngestKeyResponse:
    """Return the new key with its secret, and the replaced key.

    Raises:
        NotFound: the merchant does not have the key, or was deleted.
        RefusedError: a value is invalid, the key is revoked or expired (WRONG_STATE), or the merchant has too many keys
            (TOO_MANY_RESOURCES).
    """
    overlap_ms = checked_overlap(request.overlap if request.HasField("overlap") else None)
    request_id = _checked_request_id(request.request_id)
    key = found_key(backend, request.name)
    new_id = f"{key.kind.value}-{_id_of(request.name, request_id) if request_id else backend.new_token()[:16]}"
    new, secret = backend.directory.key_with_id(key.merchant, new_id) if request_id else None, ""
    if new is None:
        new, secret = _created(backend, key, new_id, needs_room=overlap_ms > 0)
    replaced, is_made_to_end = _expiring(backend, key, new, overlap_ms, is_repeated=not secret)
    if secret and not overlap_ms and not is_made_to_end:
        _undo_beyond_limit(backend, key, new)
    return pb.RotateIngestKeyResponse(key=key_message(new), secret=secret, replaced_key=key_message(replaced))


def _created(backend: Backend, key: IngestKey, new_id: str, *, needs_room: bool) -> tuple[IngestKey, str]:
    """Return the new key and its secret; an empty secret if a concurrent call created the key.

    A replaced key that ends at once makes room for the new key, so `needs_room` is false.
    """
    now = backend.clock.now()
    if key.is_ended(now):
        raise _is_ended(key.key_id)
    if needs_room:
        refuse_another_key(backend, key.merchant)
    secret = backend.new_token()
    if key.quota != NO_QUOTA:
        backend.directory.change_quota(ingest_key_name(key.merchant, new_id), key.quota)
    new = IngestKey(
        key_id=new_id,
        merchant=key.merchant,
        kind=key.kind,
        site=key.site,
        unbounded_history=key.unbounded_history,
        created_at=now,
        roles=key.roles,
        display_name=key.display_name,
        prefix=shown_prefix(secret),
        rotated_from=key.key_id,
    )
    try:
        new = backend.directory.create_key(new, secret)
    except AlreadyExists:
        return found_key(backend, ingest_key_name(key.merchant, new_id)), ""
    revoke = partial(backend.directory.revoke_key, key.merchant, new_id, now)
    undo_without_merchant(backend, key.merchant, "name", revoke)
    return new, secret


def _expiring(
    backend: Backend, key: IngestKey, new: IngestKey, overlap_ms: int, *, is_repeated: bool
) -> tuple[IngestKey, bool]:
    """Set the expiry of the replaced key; return the key, and whether this call changed it. An earlier end stays.

    Args:
        backend: the stores.
        key: the replaced key.
        new: the key that replaces `key`.
        overlap_ms: time from the creation of `new` until `key` expires.
        is_repeated: whether another call created `new`; if so, a key that changed since then stays as it is.
    """
    ends_at = new.created_at + overlap_ms
    while key.revoked_at is None and (key.expires_at is None or key.expires_at > ends_at):
        if is_repeated and _is_changed_since(key, new):
            break
        now = max(backend.clock.now(), new.created_at)
        changed = replace(key, expires_at=ends_at, updated_at=now, version=key.version + 1)
        if backend.directory.change_key(changed):
            return changed, True
        stored = backend.directory.key_with_id(key.merchant, key.key_id)
        if stored is None:
            break
        key = stored
    backend.directory.announce(ingest_key_name(key.merchant, key.key_id))
    return key, False


def _undo_beyond_limit(backend: Backend, key: IngestKey, new: IngestKey) -> None:
    """Revoke the new key if the merchant has too many keys, because another call ended the replaced key.

    Otherwise, concurrent rotations of one key at the limit would each add a valid key.

    Raises:
        RefusedError: the new key was revoked (WRONG_STATE).
    """
    now = backend.clock.now()
    if valid_keys(backend.directory.keys(key.merchant), now) > backend.max_keys:
        backend.directory.revoke_key(key.merchant, new.key_id, now)
        raise _is_ended(key.key_id)


def _is_ended(key_id: str) -> RefusedError:
    """Return the error for a key that cannot be replaced."""
    return RefusedError(
        f"key {key_id} is revoked or expired, so no key can replace the key: create a key with CreateIngestKey",
        field="name",
        reason=ErrorReason.WRONG_STATE,
        value=key_id,
    )


def _is_changed_since(key: IngestKey, new: IngestKey) -> bool:
    """Return whether a key was changed at or after the creation of the key that replaces it."""
    return key.updated_at is not None and key.updated_at >= new.created_at


def _id_of(name: str, request_id: str) -> str:
    """Return 16 characters that a repeated request for the same key has too."""
    digest = blake2b(f"{name} {request_id}".encode(), digest_size=_ID_BYTES).digest()
    return urlsafe_b64encode(digest).decode()


def _checked_request_id(text: str) -> str:
    """Return a request id in lower case; an empty text stays empty.

    Raises:
        RefusedError: the text is not a UUID.
    """
    if text and not _UUID.fullmatch(text):
        raise RefusedError(
            f"request_id {text[:64]!r} is not a UUID: send a random UUID such as 0a0a1b2c-3d4e-4f5a-8b9c-0d1e2f3a4b5c",
            field="request_id",
            value=text[:64],
        )
    return text.lower()
