"""ListIngestKeys: list a merchant's keys by id, in pages.

Limits: a page has at most 1,000 keys; a larger page_size is reduced to 1,000. A page token is opaque and valid for the
same request only.
"""

from __future__ import annotations

from typing import Final

from control.backend import Backend
from control.rpc.admin.key_messages import key_message
from control.rpc.admin.merchants import existing_merchant
from control.rpc.admin.names import checked_merchant
from control.rpc.paging import checked_size, last_in, token_of
from hitmesh.access.callers import Caller
from hitmesh.api.control.v1 import admin_pb2 as pb

DEFAULT_PAGE: Final = 100
MAX_PAGE: Final = 1_000


def list_ingest_keys(
    backend: Backend, _caller: Caller | None, request: pb.ListIngestKeysRequest
) -> pb.ListIngestKeysResponse:
    """Return a page of keys.

    Raises:
        NotFound: the merchant does not exist.
        RefusedError: a value is invalid; PAGE_TOKEN_MISMATCH when the token belongs to another list.
    """
    merchant = checked_merchant(request.parent)
    existing_merchant(backend, merchant, "parent")
    page_size = checked_size("page_size", request.page_size, DEFAULT_PAGE, MAX_PAGE)
    of_list = f"{merchant}/ingestKeys?show_revoked={request.show_revoked}"
    after = last_in(request.page_token, of_list)
    found = sorted(
        (
            key
            for key in backend.directory.keys(merchant)
            if key.key_id > after and (request.show_revoked or key.revoked_at is None)
        ),
        key=lambda key: key.key_id,
    )
    page = found[:page_size]
    token = token_of(page[-1].key_id, of_list) if len(found) > page_size else ""
    return pb.ListIngestKeysResponse(keys=[key_message(key) for key in page], next_page_token=token)
