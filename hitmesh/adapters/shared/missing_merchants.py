"""Creates merchants that are not stored yet, for development and tests. In production, operators create merchants."""

from __future__ import annotations

from hitmesh.model.merchants import Merchant
from hitmesh.ports import Merchants


def create_missing(merchants: Merchants, name: str, now: int) -> None:
    """Create a merchant, unless a merchant with this name exists or was deleted.

    Args:
        merchants: the stored merchants.
        name: full name, `merchants/m`.
        now: the creation time, in UTC ms.
    """
    if merchants.merchant(name) is None:
        merchants.create_merchant(Merchant(name, created_at=now, updated_at=now))
