"""GetMerchant: return a merchant to the merchant or an operator."""

from __future__ import annotations

from control.backend import Backend
from control.rpc.admin.merchants import checked_name, existing_merchant, merchant_message
from hitmesh.access.callers import Caller
from hitmesh.api.control.v1 import merchants_pb2 as pb


def get_merchant(backend: Backend, caller: Caller | None, request: pb.GetMerchantRequest) -> pb.GetMerchantResponse:
    """Return the merchant.

    Raises:
        NotFound: the merchant does not exist.
        RefusedError: the text is not a merchant name.
    """
    merchant = existing_merchant(backend, checked_name(request.name, "name"), "name")
    return pb.GetMerchantResponse(merchant=merchant_message(merchant))
