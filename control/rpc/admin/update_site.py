"""UpdateSite: change whether a site stores truncated IP addresses.

The call is idempotent. All other fields are immutable.
"""

from __future__ import annotations

from functools import partial
from typing import Final

from control.backend import Backend
from control.rpc.admin.names import site_message
from control.rpc.admin.rules import changed_rules
from hitmesh.access.callers import Caller
from hitmesh.access.checks import found_site, site_not_found
from hitmesh.api.control.v1 import admin_pb2 as pb
from hitmesh.model.errors import RefusedError
from hitmesh.model.rule_changes import with_networks

CHANGEABLE: Final = "store_network"


def update_site(backend: Backend, caller: Caller | None, request: pb.UpdateSiteRequest) -> pb.UpdateSiteResponse:
    """Return the changed site.

    Raises:
        NotFound: the site does not exist.
        RefusedError: the mask names an immutable field, or rules of kind NETWORK need the addresses
            (RULE_NOT_APPLICABLE).
    """
    _refuse_other_paths(request)
    name = request.site.name
    _refuse_other_values(request, site_message(found_site(backend.directory, name, "site.name")))
    if request.update_mask.paths or request.site.HasField(CHANGEABLE):
        stored, now = request.site.store_network, backend.clock.now()
        changed_rules(backend.directory, name, partial(with_networks, stored=stored, now=now))
    site = backend.directory.site(name)
    if site is None:
        raise site_not_found(name, "site.name")
    return pb.UpdateSiteResponse(site=site_message(site))


def _refuse_other_values(request: pb.UpdateSiteRequest, site: pb.Site) -> None:
    """Refuse a request that has no mask and whose immutable fields differ from the stored site."""
    if request.update_mask.paths:
        return
    for field, value in request.site.ListFields():
        if field.name != CHANGEABLE and value != getattr(site, field.name):
            raise RefusedError(
                f"field {field.name!r} cannot be changed: leave it out, or send the value that the site has",
                field=f"site.{field.name}",
                value=str(value)[:64],
            )


def _refuse_other_paths(request: pb.UpdateSiteRequest) -> None:
    other = next((path for path in request.update_mask.paths if path != CHANGEABLE), None)
    if other is not None:
        raise RefusedError(
            f"field {other[:64]!r} cannot be changed: name only store_network in update_mask",
            field="update_mask",
            value=other[:64],
        )
