"""UpdateSite: change the values of a site that may change.

The values that the collector applies to hits (consent default, cookieless counting, identification by user id, storage
of truncated IP addresses) hold for hits that arrive later than 2 s after the change. The call is idempotent without an
etag.
"""

from __future__ import annotations

from control.backend import Backend
from control.rpc.admin.site_changes import (
    changed_paths,
    refuse_nothing_to_change,
    refuse_other_values,
    stored_change,
    with_values,
)
from control.rpc.admin.site_messages import site_message
from hitmesh.access.callers import Caller
from hitmesh.api.control.v1 import admin_pb2 as pb
from hitmesh.model.sites import Site


def update_site(backend: Backend, caller: Caller | None, request: pb.UpdateSiteRequest) -> pb.UpdateSiteResponse:
    """Return the changed site.

    Raises:
        NotFound: the site does not exist.
        RefusedError: the request changes nothing, the mask names a field that cannot be changed, a value is invalid,
            rules of kind NETWORK need the addresses (RULE_NOT_APPLICABLE), or the site has another etag
            (ETAG_MISMATCH).
    """
    wanted, mask, now = request.site, list(request.update_mask.paths), backend.clock.now()
    paths = changed_paths(wanted, mask)

    def change(site: Site) -> Site:
        refuse_nothing_to_change(wanted, mask)
        if not mask or "*" in mask:
            refuse_other_values(wanted, site)
        return with_values(site, wanted, paths, now)

    changed = stored_change(
        backend.directory, wanted.name, now, change, field="site.name", etag=wanted.etag, etag_field="site.etag"
    )
    return pb.UpdateSiteResponse(site=site_message(changed))
