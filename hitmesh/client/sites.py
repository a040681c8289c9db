"""Finds, creates and lists sites through the admin service of a mesh."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import grpc

from hitmesh.api.control.v1 import admin_pb2
from hitmesh.client.mesh import CALL_TIMEOUT_S, Mesh
from hitmesh.model.errors import RefusedError
from hitmesh.model.reasons import LocalReason

DEFAULT_CURRENCY: Final = "USD"
DEFAULT_ZONE: Final = "UTC"
ALL_MERCHANTS: Final = "merchants/-"
_PAGE_SIZE: Final = 1_000


def get_site(mesh: Mesh, name: str) -> admin_pb2.Site:
    """Return the site with this full name.

    Raises:
        grpc.RpcError: the admin service refuses the call; NOT_FOUND if the caller can read no site with this name.
    """
    request = admin_pb2.GetSiteRequest(name=name)
    return mesh.admin.GetSite(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials).site


def list_sites(mesh: Mesh, parent: str = ALL_MERCHANTS, *, show_deleted: bool = False) -> Iterator[admin_pb2.Site]:
    """Yield the sites that the caller may read, ordered by name; with `show_deleted`, also deleted sites."""
    page_token = ""
    while True:
        request = admin_pb2.ListSitesRequest(
            parent=parent, page_size=_PAGE_SIZE, page_token=page_token, show_deleted=show_deleted
        )
        page = mesh.admin.ListSites(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)
        yield from page.sites
        page_token = page.next_page_token
        if not page_token:
            return


def ensure_site(mesh: Mesh, name: str, currency: str | None) -> admin_pb2.Site:
    """Return the site.

    A missing site is created with time zone UTC and the given currency (default USD). Idempotent.

    Raises:
        RefusedError: the site has a different currency (CURRENCY_MISMATCH), or the mesh has no key (NO_KEY).
        grpc.RpcError: the admin service refuses the call.
    """
    mesh.require_key()
    try:
        site = get_site(mesh, name)
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.NOT_FOUND:
            raise
        site = _create(mesh, name, currency or DEFAULT_CURRENCY)
    if currency is not None and site.currency != currency:
        raise RefusedError(
            f"site {name} has currency {site.currency}, not {currency}: a site's currency is fixed; "
            f"use --currency {site.currency}, or another site",
            field="currency",
            reason=LocalReason.CURRENCY_MISMATCH,
        )
    return site


def _create(mesh: Mesh, name: str, currency: str) -> admin_pb2.Site:
    parent, site_id = name.split("/sites/", 1)
    request = admin_pb2.CreateSiteRequest(
        parent=parent, site_id=site_id, site=admin_pb2.Site(time_zone=DEFAULT_ZONE, currency=currency)
    )
    try:
        return mesh.admin.CreateSite(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials).site
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
            raise
        return get_site(mesh, name)  # another client created the site after the call of GetSite


def schedule_policy(mesh: Mesh, name: str, change: admin_pb2.VisitPolicyChange) -> admin_pb2.Site:
    """Store a change of a site's visit policy and return the site. Idempotent.

    Raises:
        RefusedError: the mesh has no key (NO_KEY).
        grpc.RpcError: the admin service refuses the call.
    """
    mesh.require_key()
    request = admin_pb2.ScheduleVisitPolicyRequest(name=name, change=change)
    return mesh.admin.ScheduleVisitPolicy(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials).site
