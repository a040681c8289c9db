"""Names, checks and messages shared by the RPCs for merchants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from control.backend import Backend
from control.rpc.admin.site_values import checked_display_name
from hitmesh.access.checks import merchant_not_found
from hitmesh.api.control.v1 import merchants_pb2 as pb
from hitmesh.model.errors import RefusedError
from hitmesh.model.merchants import Merchant
from hitmesh.model.names import MERCHANT_PATTERN
from hitmesh.model.reasons import ErrorReason
from hitmesh.runtime.rpc_values import timestamp

MUTABLE: Final = "display_name"


def checked_name(name: str, field: str) -> str:
    """Check a merchant's full name, and return the name.

    Raises:
        RefusedError: the text is not a merchant name.
    """
    if not MERCHANT_PATTERN.fullmatch(name):
        raise RefusedError(
            f"{name[:80]!r} is not a merchant: write merchants/ and 1 to 64 characters of a-z, 0-9 and '-'",
            field=field,
            value=name,
        )
    return name


def is_live(backend: Backend, name: str) -> bool:
    """Return whether a merchant exists and is not deleted."""
    found = backend.merchants.merchant(name)
    return found is not None and found.deleted_at is None


def existing_merchant(backend: Backend, name: str, field: str) -> Merchant:
    """Return a merchant that exists and is not deleted.

    Raises:
        NotFound: there is no such merchant.
    """
    found = backend.merchants.merchant(name)
    if found is None or found.deleted_at is not None:
        raise merchant_not_found(name, field)
    return found


def undo_without_merchant(backend: Backend, merchant: str, field: str, undo: Callable[[], object]) -> None:
    """Undo the creation of a site or key if the merchant was deleted at the same time.

    DeleteMerchant marks the merchant as deleted before it looks for sites and keys. A creation that DeleteMerchant does
    not see therefore finds the mark here.

    Raises:
        NotFound: the merchant was deleted.
    """
    if not is_live(backend, merchant):
        undo()
        raise merchant_not_found(merchant, field)


def etag_of(merchant: Merchant) -> str:
    """Return the etag of a merchant, which changes with every change."""
    return f"r{merchant.revision}"


def refuse_other_etag(wanted: str, present: str, name: str, field: str) -> None:
    """Raise if a request has an etag that is not the present etag of the named object.

    Raises:
        RefusedError: ETAG_MISMATCH.
    """
    if wanted and wanted != present:
        raise RefusedError(
            f"{name} changed after its etag was read: read it again, and repeat the call with the new etag",
            field=field,
            reason=ErrorReason.ETAG_MISMATCH,
            value=name,
        )


def changed_merchant(merchant: Merchant, wanted: pb.Merchant, paths: list[str]) -> Merchant:
    """Return the merchant with the wanted values.

    Raises:
        RefusedError: the mask names a field that cannot be changed, or a value is invalid.
    """
    for path in paths:
        if path not in (MUTABLE, "*"):
            raise RefusedError(
                f"field {path[:64]!r} cannot be changed: name only display_name in update_mask",
                field="update_mask",
                value=path[:64],
            )
    if not paths and not wanted.HasField(MUTABLE):
        return merchant
    display_name = checked_display_name(wanted.display_name, f"merchant.{MUTABLE}")
    return replace(merchant, display_name=display_name)


def merchant_message(merchant: Merchant) -> pb.Merchant:
    """Return a merchant as a message."""
    return pb.Merchant(
        name=merchant.name,
        display_name=merchant.display_name,
        create_time=timestamp(merchant.created_at),
        update_time=timestamp(merchant.updated_at),
        etag=etag_of(merchant),
    )
