"""DeleteMerchant: delete a merchant, with `force` also its sites and keys.

With `force`, keys are revoked first, then the sites are deleted, and then the merchant is marked as deleted. After an
interrupted deletion, the merchant is therefore still shown, and a repeated call completes the deletion. From the mark
on, no site and no key can be created for the merchant. What was created shortly before the mark is deleted last.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from control.backend import Backend
from control.rpc.admin.delete_site import delete_stored_site
from control.rpc.admin.merchants import checked_name, etag_of, refuse_other_etag
from control.rpc.admin.quotas import valid_keys
from hitmesh.access.callers import Caller
from hitmesh.access.checks import merchant_not_found
from hitmesh.api.control.v1 import merchants_pb2 as pb
from hitmesh.model.checkpoints import Checkpoint
from hitmesh.model.errors import NotFound, RefusedError, Unavailable
from hitmesh.model.merchants import Merchant
from hitmesh.model.plurals import counted
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.sites import Site

PAGE = 1_000


def delete_merchant(
    backend: Backend,
    caller: Caller | None,
    request: pb.DeleteMerchantRequest,
    checkpoint: Checkpoint,
    *,
    page: int = PAGE,
) -> pb.DeleteMerchantResponse:
    """Return the numbers of deleted sites and revoked keys.

    Args:
        backend: the stores.
        caller: an operator.
        request: the request.
        checkpoint: called before each site and key.
        page: number of sites that are read at once.

    Raises:
        NotFound: there never was such a merchant.
        RefusedError: the name is invalid, the merchant has another etag (ETAG_MISMATCH), or the merchant has sites or
            valid keys and `force` is not set (WRONG_STATE).
        Unavailable: another caller changed the merchant at the same time. With `force`, its sites and keys are deleted
            already.
        Abandoned: the caller left or the deadline passed. The same call goes on where this call stopped.
    """
    name = checked_name(request.name, "name")
    merchant = backend.merchants.merchant(name)
    if merchant is None:
        raise merchant_not_found(name, "name")
    if not request.force:
        _refuse_owner(backend, name, page)
    before = (0, 0)
    if merchant.deleted_at is None:
        refuse_other_etag(request.etag, etag_of(merchant), name, "etag")
        if request.force:
            before = _emptied(backend, name, checkpoint, page)
        merchant = _marked(backend, merchant, backend.clock.now())
        if not request.force:
            _restore_owner(backend, merchant, page)
    after = _emptied(backend, name, checkpoint, page)
    return pb.DeleteMerchantResponse(deleted_sites=before[0] + after[0], revoked_keys=before[1] + after[1])


def _emptied(backend: Backend, name: str, checkpoint: Checkpoint, page: int) -> tuple[int, int]:
    """Revoke a merchant's keys and delete its sites; return the numbers of deleted sites and revoked keys.

    Keys and sites that have ended already are left out, so that a repeated call makes progress.
    """
    revoked = _revoked(backend, name, checkpoint)  # first, so that the merchant creates no further sites
    deleted = 0
    for site in _sites(backend, name, page):
        checkpoint()
        deleted += _is_deleted(backend, site)
    return deleted, revoked


def _marked(backend: Backend, merchant: Merchant, deleted_at: int | None) -> Merchant:
    changed = replace(merchant, revision=merchant.revision + 1, updated_at=backend.clock.now(), deleted_at=deleted_at)
    if not backend.merchants.change_merchant(merchant, changed):
        raise Unavailable("another caller changed the merchant at the same time: call again")
    return changed


def _restore_owner(backend: Backend, merchant: Merchant, page: int) -> None:
    """Remove the mark of a merchant that got a site or key after the first check."""
    try:
        _refuse_owner(backend, merchant.name, page)
    except RefusedError:
        _marked(backend, merchant, None)
        raise


def _refuse_owner(backend: Backend, name: str, page: int) -> None:
    sites = len(backend.directory.sites(name, "", page))
    keys = valid_keys(backend.directory.keys(name), backend.clock.now())
    if sites or keys:
        raise RefusedError(
            f"{name} has {counted(sites, 'site')} and {counted(keys, 'valid key')}: delete and revoke these first, or "
            "set force (--force) to delete the merchant with all its sites and keys",
            field="force",
            reason=ErrorReason.WRONG_STATE,
            value=name,
            count=sites + keys,
        )


def _sites(backend: Backend, name: str, size: int) -> Iterator[Site]:
    after = ""
    while page := backend.directory.sites(name, after, size):
        yield from page
        after = page[-1].name


def _is_deleted(backend: Backend, site: Site) -> bool:
    """Delete a site; return whether this call, and no other caller, deleted the site."""
    try:
        delete_stored_site(backend, site.name)
    except NotFound:
        return False
    return True


def _revoked(backend: Backend, name: str, checkpoint: Checkpoint) -> int:
    """Revoke the merchant's keys, also keys that have expired, because the expiry of a key may be changed."""
    keys = [key.key_id for key in backend.directory.keys(name) if key.revoked_at is None]
    for key_id in keys:
        checkpoint()
        backend.directory.revoke_key(name, key_id, backend.clock.now())
    return len(keys)
