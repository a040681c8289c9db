"""CreateIngestKey: create a key for the caller's merchant, who must have the role ADMINISTER.

Only the response contains the secret; the store contains a hash of the secret.
"""

from __future__ import annotations

from functools import partial

from control.backend import Backend
from control.rpc.admin.key_checks import checked_display_name, checked_expiry, checked_roles
from control.rpc.admin.key_messages import KINDS, key_message
from control.rpc.admin.merchants import existing_merchant, undo_without_merchant
from control.rpc.admin.names import checked_merchant
from control.rpc.admin.quotas import refuse_another_key
from hitmesh.access.callers import Caller
from hitmesh.access.checks import site_not_found
from hitmesh.access.roles import RIGHTS
from hitmesh.api.control.v1 import admin_pb2 as pb
from hitmesh.model.errors import RefusedError
from hitmesh.model.key_secrets import shown_prefix
from hitmesh.model.names import merchant_of
from hitmesh.model.sites import IngestKey


def create_ingest_key(
    backend: Backend, caller: Caller | None, request: pb.CreateIngestKeyRequest
) -> pb.CreateIngestKeyResponse:
    """Return the key and the secret.

    Raises:
        NotFound: the merchant does not exist, or the site does not exist or belongs to another merchant.
        RefusedError: a value is invalid, or the merchant has too many keys (TOO_MANY_RESOURCES).
    """
    merchant = checked_merchant(request.parent)
    wanted = request.key
    kind = KINDS.get(wanted.kind)
    if kind is None:
        cure = "use KEY_KIND_BROWSER, KEY_KIND_SERVER or KEY_KIND_EDGE"
        if wanted.kind == pb.KEY_KIND_UNSPECIFIED:
            raise RefusedError(f"kind is not set: {cure}", field="key.kind")
        raise RefusedError(f"kind {wanted.kind} is not a kind of key: {cure}", field="key.kind", value=wanted.kind)
    existing_merchant(backend, merchant, "parent")
    site = _checked_site(backend, merchant, wanted)
    if not RIGHTS[kind].is_secret and site is None:
        raise RefusedError(
            f"a key of kind {kind.value} is public and needs one site: set site", field="key.site", value=kind.value
        )
    if wanted.unbounded_history and not RIGHTS[kind].sets_times:
        raise RefusedError(
            f"unbounded_history is set for a key of kind {kind.value}, but only server keys may send hits of any age "
            "(rule T3): leave out unbounded_history, or create a server key",
            field="key.unbounded_history",
            value=kind.value,
        )
    roles = checked_roles(kind, wanted.roles, site)
    now = backend.clock.now()
    display_name = checked_display_name(wanted.display_name)
    expires_at = checked_expiry(wanted.expire_time, now) if wanted.HasField("expire_time") else None
    refuse_another_key(backend, merchant)
    secret = backend.new_token()
    key = IngestKey(
        key_id=f"{kind.value}-{backend.new_token()[:16]}",
        merchant=merchant,
        kind=kind,
        site=site,
        unbounded_history=wanted.unbounded_history,
        roles=roles,
        created_at=now,
        expires_at=expires_at,
        display_name=display_name,
        prefix=shown_prefix(secret),
    )
    created = backend.directory.create_key(key, secret)
    revoke = partial(backend.directory.revoke_key, merchant, key.key_id, backend.clock.now())
    undo_without_merchant(backend, merchant, "parent", revoke)
    return pb.CreateIngestKeyResponse(key=key_message(created), secret=secret)


def _checked_site(backend: Backend, merchant: str, wanted: pb.IngestKey) -> str | None:
    """Return the site that the key is for, or None if the key is for every site of the merchant."""
    if not wanted.HasField("site"):
        return None
    if not wanted.site:
        raise RefusedError("site is empty: name a site, or leave site out for every site", field="key.site")
    if merchant_of(wanted.site) != merchant or backend.directory.site(wanted.site) is None:
        raise site_not_found(wanted.site, "key.site")
    return wanted.site
