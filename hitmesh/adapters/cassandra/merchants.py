"""Store merchants on Cassandra.

Conditional writes make names unique, and let only one of several concurrent changes of a merchant succeed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from hitmesh.adapters.cassandra.names import bucket_of, names_after
from hitmesh.adapters.cassandra.session import CassandraSession, Row
from hitmesh.adapters.shared.directory_rules import agreed_merchant
from hitmesh.model.merchants import Merchant
from hitmesh.model.names import MERCHANT_PATTERN

_COLUMNS: Final = "name, display_name, created_at, updated_at, revision, deleted_at"
_ONE: Final = f"SELECT {_COLUMNS} FROM merchants WHERE bucket = ? AND name = ?"
_CREATE: Final = f"INSERT INTO merchants (bucket, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?) IF NOT EXISTS"
_CHANGE: Final = """UPDATE merchants SET display_name = ?, updated_at = ?, revision = ?, deleted_at = ?
    WHERE bucket = ? AND name = ? IF revision = ?"""
_ADOPT: Final = f"INSERT INTO merchants (bucket, {_COLUMNS}) VALUES (?, ?, '', ?, ?, 0, null) USING TIMESTAMP ?"
# An adopted merchant is written with the write time `_BEFORE_2002_US` - now, in µs, where now is in ms. This time is
# older than the time of every other write, and the later of two migrations has the older time. A repeated migration
# therefore changes no merchant.
_BEFORE_2002_US: Final = 10**15
_SOURCES: Final = ("SELECT DISTINCT merchant FROM sites_of_merchant", "SELECT DISTINCT merchant FROM ingest_keys")


class CassandraMerchants:
    """Implements the port Merchants. Thread-safe.

    Args:
        session: a session on the keyspace.
    """

    def __init__(self, session: CassandraSession) -> None:
        self._session = session

    def merchant(self, name: str) -> Merchant | None:
        """Return the merchant with this name, even if the merchant is deleted; None if there never was one."""
        rows = self._session.run(_ONE, (bucket_of(name), name), serial=True)
        return _merchant_of(rows[0]) if rows else None

    def merchants(self, after: str, limit: int) -> Sequence[Merchant]:
        """Return the first `limit` merchants whose names follow `after`, in name order, without deleted merchants."""
        found: list[Merchant] = []
        while len(found) < limit:
            names = names_after(self._session, "merchants", after, limit)
            answers = self._session.run_each(_ONE, [(bucket_of(name), name) for name in names])
            merchants = [_merchant_of(rows[0]) for rows in answers if rows]
            found += [merchant for merchant in merchants if merchant.deleted_at is None]
            if len(names) < limit:
                break
            after = names[-1]
        return found[:limit]

    def create_merchant(self, merchant: Merchant) -> Merchant:
        """Store a merchant durably; return the stored merchant.

        Raises:
            AlreadyExists: the merchant has another display name, or is deleted.
        """
        self._session.apply(
            _CREATE,
            (
                bucket_of(merchant.name),
                merchant.name,
                merchant.display_name,
                merchant.created_at,
                merchant.updated_at,
                merchant.revision,
                merchant.deleted_at,
            ),
        )
        there = self.merchant(merchant.name)
        assert there is not None  # the row was inserted above or existed before, and rows are never deleted
        return agreed_merchant(there, merchant)

    def change_merchant(self, stored: Merchant, changed: Merchant) -> bool:
        """Replace the values of a merchant durably; return whether the store now has the changed merchant."""
        return (
            self._session.apply(
                _CHANGE,
                (
                    changed.display_name,
                    changed.updated_at,
                    changed.revision,
                    changed.deleted_at,
                    bucket_of(stored.name),
                    stored.name,
                    stored.revision,
                ),
            )
            or self.merchant(stored.name) == changed
        )


def adopt_merchants(session: CassandraSession, now: int) -> None:
    """Create the merchants of all sites and keys that earlier versions stored. Idempotent.

    Reads the names of merchants in pages, and no site.

    Args:
        session: a session on the keyspace.
        now: creation time of the merchants, in UTC ms.
    """
    rows = ((bucket_of(name), name, now, now, _BEFORE_2002_US - now) for name in _owners(session))
    session.run_many(_ADOPT, rows)


def _owners(session: CassandraSession) -> Iterator[str]:
    """Yield the merchants of sites and keys. Operators' keys and bootstrap tokens belong to no merchant."""
    for cql in _SOURCES:
        for row in session.stream(cql):
            if MERCHANT_PATTERN.fullmatch(row.merchant):
                yield row.merchant


def _merchant_of(row: Row) -> Merchant:
    return Merchant(*row)
