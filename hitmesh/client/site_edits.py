"""Creates, changes, deletes and restores sites through the admin service of a mesh."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hitmesh.api.control.v1 import admin_pb2
from hitmesh.client.mesh import CALL_TIMEOUT_S, Mesh


def create_site(mesh: Mesh, name: str, values: Mapping[str, Any]) -> admin_pb2.Site:
    """Create a site, and return the site. Idempotent.

    Args:
        mesh: a mesh with a server key of the site's merchant.
        name: full name of the site.
        values: fields of the site by name; other fields have their defaults.
    """
    parent, site_id = name.split("/sites/", 1)
    request = admin_pb2.CreateSiteRequest(parent=parent, site_id=site_id, site=admin_pb2.Site(**values))
    return mesh.admin.CreateSite(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials).site


def update_site(mesh: Mesh, name: str, values: Mapping[str, Any], mask: Iterable[str], etag: str) -> admin_pb2.Site:
    """Change the fields in `mask`, and return the site.

    Args:
        mesh: a mesh with a server key of the site's merchant, or with an operator's key.
        name: full name of the site.
        values: new values by field name; a field in the mask without a value gets its default.
        mask: names of the fields to change.
        etag: the etag that the site must have; empty for any.
    """
    request = admin_pb2.UpdateSiteRequest(site=admin_pb2.Site(name=name, etag=etag, **values))
    request.update_mask.paths.extend(mask)
    return mesh.admin.UpdateSite(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials).site


def delete_site(mesh: Mesh, name: str, etag: str) -> admin_pb2.Site:
    """Delete a site, and return the deleted site; an empty etag fits every site."""
    request = admin_pb2.DeleteSiteRequest(name=name, etag=etag)
    return mesh.admin.DeleteSite(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials).site


def undelete_site(mesh: Mesh, name: str) -> admin_pb2.Site:
    """Restore a deleted site, and return the site. Idempotent."""
    request = admin_pb2.UndeleteSiteRequest(name=name)
    return mesh.admin.UndeleteSite(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials).site
