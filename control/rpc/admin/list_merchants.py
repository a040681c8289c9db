"""ListMerchants: list all merchants by name, in pages.

Limits: a page has at most 1,000 merchants; a larger page_size is reduced to 1,000. A page token is opaque and valid for
this list only.
"""

from __future__ import annotations

from typing import Final

from control.backend import Backend
from control.rpc.admin.merchants import merchant_message
from control.rpc.paging import checked_size, last_in, token_of
from hitmesh.access.callers import Caller
from hitmesh.api.control.v1 import merchants_pb2 as pb

DEFAULT_PAGE: Final = 100
MAX_PAGE: Final = 1_000
_LIST: Final = "merchants"


def list_merchants(
    backend: Backend, caller: Caller | None, request: pb.ListMerchantsRequest
) -> pb.ListMerchantsResponse:
    """Return a page of merchants.

    Raises:
        RefusedError: a value is invalid; PAGE_TOKEN_MISMATCH when the token belongs to another list.
    """
    page_size = checked_size("page_size", request.page_size, DEFAULT_PAGE, MAX_PAGE)
    found = backend.merchants.merchants(last_in(request.page_token, _LIST), page_size + 1)
    page = found[:page_size]
    token = token_of(page[-1].name, _LIST) if len(found) > page_size else ""
    return pb.ListMerchantsResponse(merchants=map(merchant_message, page), next_page_token=token)
