"""ListSites: the sites of a merchant by name, a page at a time; `merchants/-` = of all the caller may see.

Limits: a page of 1,000, larger ones are cut to it. A page token is bound to its parent and says nothing to people.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final

from hitmesh.access.callers import may_read
from hitmesh.api.control.v1 import admin_pb2 as pb
from hitmesh.model.errors import NotFound, RefusedError, Unauthenticated
from hitmesh.model.keys import hash64
from hitmesh.model.sites import IngestKey, KeyKind
from reporter.rpc.admin.names import checked_merchant, site_message
from reporter.rpc.backend import Backend

DEFAULT_PAGE: Final = 100
MAX_PAGE: Final = 1_000
ALL: Final = "merchants/-"


def list_sites(backend: Backend, caller: IngestKey | None, request: pb.ListSitesRequest) -> pb.ListSitesResponse:
    """Returns a page of sites.

    Raises:
        Unauthenticated: reads need a key and there is none.
        NotFound: the merchant is not the caller's.
        RefusedError: a value is wrong; PAGE_TOKEN_MISMATCH when the token is of another list.
    """
    if request.page_size < 0:
        raise RefusedError(f"page_size {request.page_size} is negative: leave it out for 100", field="page_size")
    page_size = min(request.page_size or DEFAULT_PAGE, MAX_PAGE)
    after = _name_in(request.page_token, request.parent)
    merchant, only = _visible(backend, caller, request.parent)
    if only is not None:
        own = backend.directory.site(only)
        found = [own] if own is not None and own.name > after else []
    else:
        found = list(backend.directory.sites(merchant, after, page_size + 1))
    page = found[:page_size]
    token = _token_of(page[-1].name, request.parent) if len(found) > page_size else ""
    return pb.ListSitesResponse(sites=[site_message(site) for site in page], next_page_token=token)


def _visible(backend: Backend, caller: IngestKey | None, parent: str) -> tuple[str | None, str | None]:
    """Returns (merchant or None for all, the only site of a key that has one)."""
    if backend.open_reads:
        return (None if parent == ALL else checked_merchant(parent)), None
    if caller is None:
        raise Unauthenticated(
            "no key: send a server key of the merchant as authorization: Bearer <key>", field="authorization"
        )
    merchant = caller.merchant if parent == ALL else checked_merchant(parent)
    if caller.kind is not KeyKind.SERVER or not may_read(caller, False, merchant, caller.site):
        raise NotFound(f"{parent[:80]!r} does not exist or is not yours", field="parent")
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
        "page_token is not of this list: use next_page_token of the answer before, with the same parent",
        field="page_token",
        reason="PAGE_TOKEN_MISMATCH",
    )
