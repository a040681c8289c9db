"""Create sites with chosen names for merchant demo, through the control service."""

from __future__ import annotations

from collections.abc import Iterable

from hitmesh.api.control.v1 import admin_pb2
from tests.support.mesh import Mesh
from tests.support.tenants import authorized


def create_sites(mesh: Mesh, sites: Iterable[str]) -> None:
    """Create the sites, given by their full names, with currency USD and zone UTC."""
    for site in sites:
        request = admin_pb2.CreateSiteRequest(
            parent="merchants/demo",
            site_id=site.rpartition("/")[2],
            site=admin_pb2.Site(currency="USD", time_zone="UTC"),
        )
        mesh.admin().CreateSite(request, metadata=authorized(mesh.key), timeout=60)
