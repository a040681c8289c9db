"""UpdateMerchant: change the values of a merchant. Idempotent without an etag."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from control.backend import Backend
from control.rpc.admin.merchants import (
    changed_merchant,
    checked_name,
    etag_of,
    existing_merchant,
    merchant_message,
    refuse_other_etag,
)
from hitmesh.access.callers import Caller
from hitmesh.api.control.v1 import merchants_pb2 as pb
from hitmesh.model.errors import Unavailable

_ATTEMPTS: Final = 5


def update_merchant(
    backend: Backend, caller: Caller | None, request: pb.UpdateMerchantRequest
) -> pb.UpdateMerchantResponse:
    """Return the changed merchant.

    Raises:
        NotFound: the merchant does not exist.
        RefusedError: the mask names a field that cannot be changed, a value is invalid, or the merchant has another
            etag (ETAG_MISMATCH).
        Unavailable: other callers changed the merchant at every attempt.
    """
    wanted, paths = request.merchant, list(request.update_mask.paths)
    name = checked_name(wanted.name, "merchant.name")
    for _ in range(_ATTEMPTS):
        merchant = existing_merchant(backend, name, "merchant.name")
        refuse_other_etag(wanted.etag, etag_of(merchant), name, "merchant.etag")
        changed = changed_merchant(merchant, wanted, paths)
        if changed == merchant:
            return pb.UpdateMerchantResponse(merchant=merchant_message(merchant))
        changed = replace(changed, revision=merchant.revision + 1, updated_at=backend.clock.now())
        if backend.merchants.change_merchant(merchant, changed):
            return pb.UpdateMerchantResponse(merchant=merchant_message(changed))
    raise Unavailable("other callers changed the merchant at every attempt: call again")
