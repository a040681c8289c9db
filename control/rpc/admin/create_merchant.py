"""CreateMerchant: create a merchant. Idempotent: creating the same merchant again returns the stored merchant."""

from __future__ import annotations

from control.backend import Backend
from control.rpc.admin.merchants import merchant_message
from control.rpc.admin.site_values import checked_display_name
from hitmesh.access.callers import Caller
from hitmesh.api.control.v1 import merchants_pb2 as pb
from hitmesh.model.errors import RefusedError
from hitmesh.model.merchants import Merchant
from hitmesh.model.names import MERCHANT_PATTERN


def create_merchant(
    backend: Backend, caller: Caller | None, request: pb.CreateMerchantRequest
) -> pb.CreateMerchantResponse:
    """Return the new merchant, or the stored merchant if the same merchant was created before.

    Raises:
        RefusedError: a value is invalid.
        AlreadyExists: a different merchant or a deleted merchant has the name.
    """
    name = f"merchants/{request.merchant_id}"
    if not MERCHANT_PATTERN.fullmatch(name):
        raise RefusedError(
            f"merchant_id {request.merchant_id[:80]!r} is not a merchant id: use 1 to 64 characters of a-z, 0-9 and "
            "'-', not beginning with '-'",
            field="merchant_id",
            value=request.merchant_id,
        )
    display_name = checked_display_name(request.merchant.display_name, "merchant.display_name")
    now = backend.clock.now()
    created = backend.merchants.create_merchant(Merchant(name, display_name, created_at=now, updated_at=now))
    return pb.CreateMerchantResponse(merchant=merchant_message(created))
