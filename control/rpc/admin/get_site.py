"""GetSite: return a site that the caller may read."""

from __future__ import annotations

from control.backend import Backend
from control.rpc.admin.site_messages import site_message
from hitmesh.access.callers import Caller
from hitmesh.access.checks import site_not_found
from hitmesh.api.control.v1 import admin_pb2 as pb
from hitmesh.model.errors import RefusedError
from hitmesh.model.names import SITE_PATTERN


def get_site(backend: Backend, caller: Caller | None, request: pb.GetSiteRequest) -> pb.GetSiteResponse:
    """Return the site.

    Raises:
        NotFound: the site does not exist.
        RefusedError: the text is not a site name.
    """
    if not SITE_PATTERN.fullmatch(request.name):
        raise RefusedError(
            f"name {request.name[:160]!r} is not a site name: write merchants/{{merchant}}/sites/{{site}}",
            field="name",
            value=request.name,
        )
    site = backend.directory.site(request.name)
    if site is None:
        raise site_not_found(request.name, "name")
    return pb.GetSiteResponse(site=site_message(site))
