"""Store merchants on one machine, in directory.db."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hitmesh.adapters.embedded.sqlite import Database, Transaction
from hitmesh.adapters.shared.directory_rules import agreed_merchant
from hitmesh.model.merchants import Merchant

_COLUMNS: Final = "name, display_name, created_at, updated_at, revision, deleted_at"


class EmbeddedMerchants:
    """Implements the port Merchants in directory.db. Thread-safe.

    Args:
        database: directory.db.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def merchant(self, name: str) -> Merchant | None:
        """Return the merchant with this name, even if the merchant is deleted; None if there never was one."""
        with self._database.reading() as transaction:
            return _stored(transaction, name)

    def merchants(self, after: str, limit: int) -> Sequence[Merchant]:
        """Return the first `limit` merchants whose names follow `after`, in name order, without deleted merchants."""
        with self._database.reading() as transaction:
            return transaction.rows(
                Merchant,
                f"SELECT {_COLUMNS} FROM merchants WHERE name > ? AND deleted_at IS NULL ORDER BY name LIMIT ?",
                (after, limit),
            )

    def create_merchant(self, merchant: Merchant) -> Merchant:
        """Store a merchant durably; return the stored merchant.

        Raises:
            AlreadyExists: the merchant has another display name, or is deleted.
        """
        with self._database.writing() as transaction:
            existing = _stored(transaction, merchant.name)
            if existing is not None:
                return agreed_merchant(existing, merchant)
            transaction.run(
                f"INSERT INTO merchants ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)",
                (
                    merchant.name,
                    merchant.display_name,
                    merchant.created_at,
                    merchant.updated_at,
                    merchant.revision,
                    merchant.deleted_at,
                ),
            )
        return merchant

    def change_merchant(self, stored: Merchant, changed: Merchant) -> bool:
        """Replace the values of a merchant durably; return whether the store now has the changed merchant."""
        with self._database.writing() as transaction:
            transaction.run(
                """UPDATE merchants SET display_name = ?, updated_at = ?, revision = ?, deleted_at = ?
                WHERE name = ? AND revision = ?""",
                (
                    changed.display_name,
                    changed.updated_at,
                    changed.revision,
                    changed.deleted_at,
                    stored.name,
                    stored.revision,
                ),
            )
            return _stored(transaction, stored.name) == changed


def _stored(transaction: Transaction, name: str) -> Merchant | None:
    return transaction.first(Merchant, f"SELECT {_COLUMNS} FROM merchants WHERE name = ?", (name,))
