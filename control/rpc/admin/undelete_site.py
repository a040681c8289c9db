"""UndeleteSite: restore a deleted site. Idempotent."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from control.backend import Backend
from control.rpc.admin.delete_site import delete_stored_site
from control.rpc.admin.merchants import existing_merchant, undo_without_merchant
from control.rpc.admin.site_changes import stored_change
from control.rpc.admin.site_messages import site_message
from hitmesh.access.callers import Caller
from hitmesh.access.checks import checked_site_name
from hitmesh.api.control.v1 import admin_pb2 as pb
from hitmesh.model.errors import RefusedError
from hitmesh.model.names import merchant_of
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.sites import Site
from hitmesh.model.zones import DAY_MS

UNDELETE_DAYS: Final = 30


def undelete_site(backend: Backend, caller: Caller | None, request: pb.UndeleteSiteRequest) -> pb.UndeleteSiteResponse:
    """Return the restored site.

    Raises:
        NotFound: the site or its merchant does not exist.
        RefusedError: the name is invalid, or the site was deleted too long ago (WRONG_STATE).
    """
    now = backend.clock.now()

    def change(site: Site) -> Site:
        if site.deleted_at is not None and now - site.deleted_at > UNDELETE_DAYS * DAY_MS:
            raise RefusedError(
                f"site {site.name} was deleted more than {UNDELETE_DAYS} days ago and cannot be restored: create a "
                "site with another name",
                field="name",
                reason=ErrorReason.WRONG_STATE,
                value=site.name,
                limit=UNDELETE_DAYS,
            )
        return replace(site, deleted_at=None)

    merchant = merchant_of(checked_site_name(request.name, "name"))
    existing_merchant(backend, merchant, "name")
    restored = stored_change(backend.directory, request.name, now, change, is_deleted=True)
    undo_without_merchant(backend, merchant, "name", lambda: delete_stored_site(backend, restored.name))
    return pb.UndeleteSiteResponse(site=site_message(restored))
