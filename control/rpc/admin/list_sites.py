"""ListSites: a merchant's sites by name, in pages; `merchants/-` lists all sites that the caller may read.

Limits: a page has at most 1,000 sites; a larger page_size is reduced to 1,000. A page token is opaque and valid for
the same parent only.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

from control.backend import Backend
from control.rpc.admin.names import checked_merchant, site_message
from hitmesh.access.callers import may_read
from hitmesh.api.control.v1 import admin_pb2 as pb
from hitmesh.model.errors import NotFound, RefusedError, Unauthenticated
from hitmesh.model.keys import hash64
from hitmesh.model.reasons import ErrorReason
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
    if request.page_size < 0:
        raise RefusedError(
            f"page_size {request.page_size} is negative: send 1 to {MAX_PAGE:,}, or leave page_size out for "
            f"the default of {DEFAULT_PAGE}",
            field="page_size",
            value=request.page_size,
            limit=MAX_PAGE,
            default=DEFAULT_PAGE,
        )
    page_size = min(request.page_size or DEFAULT_PAGE, MAX_PAGE)
    after = _name_in(request.page_token, request.parent)
    merchant, only = _visible(backend, caller, request.parent)
    if only is not None:
        only_site = backend.directory.site(only)
        found = [only_site] if only_site is not None and only_site.name > after else []
    else:
        found = list(backend.directory.sites(merchant, after, page_size + 1))
    page = found[:page_size]
    token = _token_of(page[-1].name, request.parent) if len(found) > page_size else ""
    return pb.ListSitesResponse(sites=[site_message(site) for site in page], next_page_token=token)


def _visible(backend: Backend, caller: IngestKey | None, parent: str) -> tuple[str | None, str | None]:
    """Return (merchant, or None for all merchants; the site that the key is limited to, or None)."""
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


def _token_of(name: str, parent: str) -> str:
    return base64.urlsafe_b64encode(f"{hash64(parent):016x}{name}".encode()).decode().rstrip("=")


def _name_in(token: str, parent: str) -> str:
    if not token:
        return ""
    try:
        text = base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise _mismatch() from error
    if text[:16] != f"{hash64(parent):016x}":
        raise _mismatch()
    return text[16:]


def _mismatch() -> RefusedError:
    return RefusedError(
        "page_token does not belong to this list: use next_page_token of the previous answer, with the same parent",
        field="page_token",
        reason=ErrorReason.PAGE_TOKEN_MISMATCH,
    )
