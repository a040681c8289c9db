"""ListSites: list a merchant's sites by name, in pages; `merchants/-` stands for all sites that the caller may read.

Limits: a page has at most 1,000 sites; a larger page_size is reduced to 1,000. A page token is opaque and valid for
the same parent only. With `show_deleted`, deleted sites are listed too. The sites of a deleted merchant are not listed.
"""

from __future__ import annotations

from typing import Final

from control.backend import Backend
from control.rpc.admin.merchants import existing_merchant, is_live
from control.rpc.admin.names import checked_merchant
from control.rpc.admin.site_messages import site_message
from control.rpc.paging import checked_size, last_in, token_of
from hitmesh.access.callers import Caller
from hitmesh.api.control.v1 import admin_pb2 as pb

DEFAULT_PAGE: Final = 100
MAX_PAGE: Final = 1_000
ALL: Final = "merchants/-"


def list_sites(backend: Backend, caller: Caller | None, request: pb.ListSitesRequest) -> pb.ListSitesResponse:
    """Return a page of sites.

    Raises:
        NotFound: the merchant does not exist, or is deleted.
        RefusedError: a value is invalid; PAGE_TOKEN_MISMATCH when the token belongs to another list.
    """
    page_size = checked_size("page_size", request.page_size, DEFAULT_PAGE, MAX_PAGE)
    after = last_in(request.page_token, request.parent)
    merchant, only = _visible(backend, caller, request.parent)
    if request.parent != ALL:
        existing_merchant(backend, request.parent, "parent")
    elif merchant is not None and not is_live(backend, merchant):
        return pb.ListSitesResponse()
    if only is not None:
        only_site = backend.directory.site_or_deleted(only)
        is_listed = only_site is not None and (request.show_deleted or only_site.deleted_at is None)
        found = [only_site] if only_site is not None and is_listed and only_site.name > after else []
    else:
        found = list(backend.directory.sites(merchant, after, page_size + 1, with_deleted=request.show_deleted))
    page = found[:page_size]
    token = token_of(page[-1].name, request.parent) if len(found) > page_size else ""
    return pb.ListSitesResponse(sites=[site_message(site) for site in page], next_page_token=token)


def _visible(backend: Backend, caller: Caller | None, parent: str) -> tuple[str | None, str | None]:
    """Return the merchant to list, and the only site that the key may read.

    If the merchant is None, all merchants are listed. If the site is None, the key may read all sites.
    """
    merchant = None if parent == ALL else checked_merchant(parent)
    if backend.open_reads:
        return merchant, None
    return (caller.merchant, caller.site) if caller is not None else ("", None)
