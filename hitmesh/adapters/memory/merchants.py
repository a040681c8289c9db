"""Keep merchants in memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from hitmesh.adapters.shared.directory_rules import agreed_merchant
from hitmesh.model.merchants import Merchant


class MemoryMerchants:
    """Implements the port Merchants in memory. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._merchants: dict[str, Merchant] = {}

    def merchant(self, name: str) -> Merchant | None:
        """Return the merchant with this name, even if the merchant is deleted; None if there never was one."""
        return self._merchants.get(name)

    def merchants(self, after: str, limit: int) -> Sequence[Merchant]:
        """Return the first `limit` merchants whose names follow `after`, in name order, without deleted merchants."""
        with self._lock:
            found = [each for each in self._merchants.values() if each.name > after and each.deleted_at is None]
        return sorted(found, key=lambda merchant: merchant.name)[:limit]

    def create_merchant(self, merchant: Merchant) -> Merchant:
        """Store a merchant; return the stored merchant.

        Raises:
            AlreadyExists: the merchant has another display name, or is deleted.
        """
        with self._lock:
            return agreed_merchant(self._merchants.setdefault(merchant.name, merchant), merchant)

    def change_merchant(self, stored: Merchant, changed: Merchant) -> bool:
        """Replace the values of a merchant; return whether the store now has the changed merchant."""
        with self._lock:
            there = self._merchants.get(stored.name)
            if there is not None and there.revision == stored.revision:
                self._merchants[stored.name] = changed
            return self._merchants.get(stored.name) == changed
