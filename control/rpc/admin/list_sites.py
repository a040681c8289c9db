"""ListSites: list a merchant's sites by name, in pages; `merchants/-` stands for all sites that the caller may read.

Limits: a page has at most 1,000 sites; a larger page_size is reduced to 1,000. A page token is opaque and valid for
the same parent only.
"""

from __future__ import annotations

from typing import Final

from control.backend import Backend
from control.rpc.admin.names import checked_merchant, site_message
from control.rpc.paging import checked_size, last_in, token_of
from hitmesh.access.callers import may_read
from hitmesh.api.control.v1 import admin_pb2 as pb
from hitmesh.model.errors import NotFound, Unauthenticated
from hitmesh.model.sites import IngestKey

DEFAULT_PAGE: Final = 100
MAX_PAGE: Final = 1_000
ALL: Final = "merchants/-"


def list_sites(backend: Backend, caller: IngestKey | None, request: pb.ListSitesRequest) -> pb.ListSitesResponse:
    """Return a page of sites.

    Raises:
        Unauthenticated: reads need a key, and the caller has no key.
        NotFound: the caller may not read the merchant.
        RefusedError: a value is invalid; PAGE_TOKEN_MISMATCH when the token belongs to another list.
    """
    page_size = checked_size("page_size", request.page_size, DEFAULT_PAGE, MAX_PAGE)
    after = last_in(request.page_token, request.parent)
    merchant, only = _visible(backend, caller, request.parent)
    if only is not None:
        only_site = backend.directory.site(only)
        found = [only_site] if only_site is not None and only_site.name > after else []
    else:
        found = list(backend.directory.sites(merchant, after, page_size + 1))
    page = found[:page_size]
    token = token_of(page[-1].name, request.parent) if len(found) > page_size else ""
    return pb.ListSitesResponse(sites=[site_message(site) for site in page], next_page_token=token)


def _visible(backend: Backend, caller: IngestKey | None, parent: str) -> tuple[str | None, str | None]:
    """Return the merchant to list, and the only site that the key may read.

    If the merchant is None, all merchants are listed. If the site is None, the key may read all sites.
    """
    if backend.open_reads:
        return (None if parent == ALL else checked_merchant(parent)), None
    if caller is None:
        raise Unauthenticated(
            "no key: send a server key of the merchant as authorization: Bearer <key>", field="authorization"
        )
    merchant = caller.merchant if parent == ALL else checked_merchant(parent)
    if not may_read(caller, False, merchant, caller.site):
        raise NotFound(
            f"{parent[:80]!r} does not exist or is not yours: check the name, or use a server key of the merchant",
            field="parent",
            value=parent,
        )
    return merchant, caller.site
