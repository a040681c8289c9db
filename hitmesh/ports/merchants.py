"""The port to merchants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from hitmesh.model.merchants import Merchant


class Merchants(Protocol):
    """Stores merchants. Every read sees all changes that were acknowledged before the read began."""

    def merchant(self, name: str) -> Merchant | None:
        """Return the merchant with this full name, even if the merchant is deleted; None if there never was one."""

    def merchants(self, after: str, limit: int) -> Sequence[Merchant]:
        """Return the first `limit` merchants whose names follow `after`, in name order, without deleted merchants."""

    def create_merchant(self, merchant: Merchant) -> Merchant:
        """Store a merchant durably and return the stored merchant.

        Idempotent: if a merchant with the same name and display name exists, the existing merchant is returned.

        Raises:
            AlreadyExists: the merchant has another display name, or is deleted.
        """

    def change_merchant(self, stored: Merchant, changed: Merchant) -> bool:
        """Replace the values of a merchant durably; return whether the store now has the changed merchant.

        `changed.revision` must be `stored.revision + 1`. If the store has another revision than `stored`, because
        another caller changed the merchant first, nothing is written and the result is False.
        """
