"""CreateIngestKey: create a key for the caller's merchant. Only this answer has the secret; the store keeps a hash."""

from __future__ import annotations

from hitmesh.access.callers import require_owner, site_not_found
from hitmesh.api.control.v1 import admin_pb2 as pb
from hitmesh.model.errors import RefusedError
from hitmesh.model.names import merchant_of
from hitmesh.model.sites import IngestKey, KeyKind
from reporter.rpc.admin.names import KINDS, checked_merchant, key_message
from reporter.rpc.backend import Backend


def create_ingest_key(
    backend: Backend, caller: IngestKey | None, request: pb.CreateIngestKeyRequest
) -> pb.CreateIngestKeyResponse:
    """Return the key and the secret.

    Raises:
        Unauthenticated, PermissionDenied: the caller does not own the merchant.
        NotFound: the site does not exist or belongs to another merchant.
        RefusedError: a value is invalid.
    """
    merchant = checked_merchant(request.parent)
    require_owner(caller, merchant)
    kind = KINDS.get(request.kind)
    if kind is None:
        cure = "use KEY_KIND_BROWSER, KEY_KIND_SERVER or KEY_KIND_EDGE"
        raise RefusedError(f"kind {request.kind} is not a kind of key: {cure}", field="kind")
    if kind is KeyKind.BROWSER and not request.site:
        raise RefusedError("a browser key is public and needs one site: set site", field="site")
    if request.site and (merchant_of(request.site) != merchant or backend.directory.site(request.site) is None):
        raise site_not_found(request.site, "site")
    secret = backend.new_token()
    key = IngestKey(
        key_id=f"{kind.value}-{backend.new_token()[:16]}",
        merchant=merchant,
        kind=kind,
        site=request.site or None,
        unbounded_history=request.unbounded_history,
        created_at=backend.clock.now(),
    )
    return pb.CreateIngestKeyResponse(key=key_message(backend.directory.create_key(key, secret)), secret=secret)
