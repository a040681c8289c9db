"""DeleteSite: delete a site. The site's data and name stay, so that UndeleteSite can restore the site."""

from __future__ import annotations

from dataclasses import replace

from control.backend import Backend
from control.rpc.admin.site_changes import stored_change
from control.rpc.admin.site_messages import site_message
from hitmesh.access.callers import Caller
from hitmesh.api.control.v1 import admin_pb2 as pb
from hitmesh.model.sites import Site


def delete_site(backend: Backend, caller: Caller | None, request: pb.DeleteSiteRequest) -> pb.DeleteSiteResponse:
    """Return the deleted site.

    Raises:
        NotFound: the site does not exist, or is already deleted.
        RefusedError: the name is invalid, or the site has another etag (ETAG_MISMATCH).
    """
    return pb.DeleteSiteResponse(site=site_message(delete_stored_site(backend, request.name, request.etag)))


def delete_stored_site(backend: Backend, name: str, etag: str = "") -> Site:
    """Delete a site, and return the deleted site; errors as in `delete_site`."""
    now = backend.clock.now()
    return stored_change(backend.directory, name, now, lambda site: replace(site, deleted_at=now), etag=etag)
