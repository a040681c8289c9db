"""Why a key is refused: the key was revoked or has expired. Every service judges the expiry by its own clock."""

from __future__ import annotations

from hitmesh.model.days import iso_second
from hitmesh.model.errors import Unauthenticated
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.sites import IngestKey


def ending_of(key: IngestKey, now: int, field: str = "") -> Unauthenticated | None:
    """Return the error for a call with a key that is refused at a time (UTC ms), or None if the key is valid.

    A key that was revoked and has expired counts as revoked. `field` is the request's field with the key.
    """
    if not key.is_ended(now):
        return None
    if key.revoked_at is not None or key.expires_at is None:
        return Unauthenticated(
            f"key {key.key_id} was revoked: use another key, or create a key with CreateIngestKey",
            field=field,
            reason=ErrorReason.KEY_REVOKED,
            key_id=key.key_id,
        )
    expire_time = iso_second(key.expires_at)
    return Unauthenticated(
        f"key {key.key_id} expired at {expire_time}: use the key that replaces this key, or create a key with "
        "CreateIngestKey",
        field=field,
        reason=ErrorReason.KEY_EXPIRED,
        key_id=key.key_id,
        expire_time=expire_time,
    )
