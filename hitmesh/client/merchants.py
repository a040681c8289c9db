"""Creates, reads, changes and deletes merchants through the admin service of a mesh, with an operator's key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from hitmesh.api.control.v1 import merchants_pb2 as pb
from hitmesh.client.mesh import CALL_TIMEOUT_S, Mesh

_PAGE_SIZE: Final = 1_000


def list_merchants(mesh: Mesh) -> Iterator[pb.Merchant]:
    """Yield all merchants, ordered by name."""
    request = pb.ListMerchantsRequest(page_size=_PAGE_SIZE)
    while True:
        page = mesh.admin.ListMerchants(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)
        yield from page.merchants
        request.page_token = page.next_page_token
        if not request.page_token:
            return


def get_merchant(mesh: Mesh, name: str) -> pb.Merchant:
    """Return the merchant with this full name."""
    request = pb.GetMerchantRequest(name=name)
    return mesh.admin.GetMerchant(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials).merchant


def create_merchant(mesh: Mesh, name: str, display_name: str) -> pb.Merchant:
    """Create a merchant, and return the merchant. Idempotent."""
    request = pb.CreateMerchantRequest(
        merchant_id=name.removeprefix("merchants/"), merchant=pb.Merchant(display_name=display_name)
    )
    return mesh.admin.CreateMerchant(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials).merchant


def update_merchant(mesh: Mesh, name: str, display_name: str, etag: str) -> pb.Merchant:
    """Change a merchant's display name, and return the merchant; an empty etag fits every merchant."""
    request = pb.UpdateMerchantRequest(merchant=pb.Merchant(name=name, display_name=display_name, etag=etag))
    request.update_mask.paths.append("display_name")
    return mesh.admin.UpdateMerchant(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials).merchant


def delete_merchant(mesh: Mesh, name: str, etag: str, *, force: bool) -> pb.DeleteMerchantResponse:
    """Delete a merchant, with `force` also its sites and keys. An empty etag fits every merchant."""
    request = pb.DeleteMerchantRequest(name=name, etag=etag, force=force)
    return mesh.admin.DeleteMerchant(request, timeout=CALL_TIMEOUT_S, metadata=mesh.credentials)
