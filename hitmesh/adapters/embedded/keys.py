"""Store keys in the table `ingest_keys` of directory.db. A key's secret is stored only as its SHA-256."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hitmesh.adapters.embedded.quotas import delete_quota, with_key_quota
from hitmesh.adapters.embedded.sqlite import Database, Transaction
from hitmesh.adapters.shared.cached_keys import CachedKeys
from hitmesh.adapters.shared.directory_rules import no_key, secret_digest
from hitmesh.adapters.shared.key_values import KEY_COLUMNS, key_values, roles_of, roles_value
from hitmesh.adapters.shared.known_keys import KnownKeys
from hitmesh.model.errors import AlreadyExists
from hitmesh.model.names import ingest_key_name
from hitmesh.model.sites import IngestKey, KeyKind

_INSERT: Final = (
    f"INSERT INTO ingest_keys ({KEY_COLUMNS}, secret_digest) VALUES ({', '.join('?' * (KEY_COLUMNS.count(',') + 2))})"
)
_WITH_ID: Final = f"SELECT {KEY_COLUMNS} FROM ingest_keys WHERE merchant = ? AND key_id = ?"
_CHANGE: Final = """UPDATE ingest_keys
    SET roles = ?, display_name = ?, updated_at = ?, expires_at = ?, revoked_at = ?, version = ?
    WHERE merchant = ? AND key_id = ? AND version = ?"""


class EmbeddedKeys(CachedKeys):
    """The keys in directory.db. A base class of EmbeddedSiteDirectory."""

    def __init__(self, database: Database, keys: KnownKeys) -> None:
        super().__init__(keys)
        self._database = database
        self._checked_at: int | None = None

    def _stored_key(self, digest: bytes) -> IngestKey | None:
        with self._database.reading() as transaction:
            key = transaction.first(_key, f"SELECT {KEY_COLUMNS} FROM ingest_keys WHERE secret_digest = ?", (digest,))
            return None if key is None else with_key_quota(transaction, key)

    def create_key(self, key: IngestKey, secret: str) -> IngestKey:
        """Create a key durably; only the secret's hash is kept.

        Raises:
            AlreadyExists: the merchant has a key with this id, or the secret is in use.
        """
        digest = secret_digest(secret)
        with self._database.writing() as transaction:
            if transaction.first(
                int,
                "SELECT 1 FROM ingest_keys WHERE merchant = ? AND key_id = ? OR secret_digest = ?",
                (key.merchant, key.key_id, digest),
            ):
                raise AlreadyExists(
                    f"{key.merchant} already has a key {key.key_id}, or the secret is in use",
                    merchant=key.merchant,
                    key_id=key.key_id,
                )
            transaction.run(_INSERT, (*key_values(key), digest))
        return key

    def keys(self, merchant: str) -> Sequence[IngestKey]:
        """Return a merchant's keys, oldest first."""
        with self._database.reading() as transaction:
            found = transaction.rows(
                _key,
                f"SELECT {KEY_COLUMNS} FROM ingest_keys WHERE merchant = ? ORDER BY created_at, key_id",
                (merchant,),
            )
            return [with_key_quota(transaction, key) for key in found]

    def key_with_id(self, merchant: str, key_id: str) -> IngestKey | None:
        """Return the merchant's key with this id; None if there is no such key."""
        with self._database.reading() as transaction:
            key = _key_with_id(transaction, merchant, key_id)
            return None if key is None else with_key_quota(transaction, key)

    def change_key(self, key: IngestKey) -> bool:
        """Store the next version of a key durably; return False if the stored version is not `key.version` - 1.

        Raises:
            NotFound: the merchant has no such key.
        """
        changing = (roles_value(key.roles), key.display_name, key.updated_at, key.expires_at, key.revoked_at)
        with self._database.writing() as transaction:
            if _key_with_id(transaction, key.merchant, key.key_id) is None:
                raise no_key(key.merchant, key.key_id)
            where = (key.merchant, key.key_id, key.version - 1)
            is_next = bool(transaction.run(_CHANGE, (*changing, key.version, *where)))
        self.announce(ingest_key_name(key.merchant, key.key_id))
        return is_next

    def delete_key(self, key: IngestKey) -> bool:
        """Delete a key with its quota durably; return False if the stored version is not `key.version`."""
        with self._database.writing() as transaction:
            there = _key_with_id(transaction, key.merchant, key.key_id)
            is_current = there is None or there.version == key.version
            if is_current:
                transaction.run("DELETE FROM ingest_keys WHERE merchant = ? AND key_id = ?", (key.merchant, key.key_id))
                delete_quota(transaction, ingest_key_name(key.merchant, key.key_id))
        self.announce(ingest_key_name(key.merchant, key.key_id))
        return is_current

    def announce(self, name: str) -> None:
        """Look for changes of the file before the next look-up; other processes look every half second."""
        self._checked_at = None


def _key_with_id(transaction: Transaction, merchant: str, key_id: str) -> IngestKey | None:
    return transaction.first(_key, _WITH_ID, (merchant, key_id))


def _key(
    merchant: str,
    key_id: str,
    kind: str,
    site: str | None,
    unbounded_history: int,
    created_at: int,
    revoked_at: int | None,
    roles: str,
    expires_at: int | None,
    display_name: str,
    prefix: str,
    updated_at: int | None,
    rotated_from: str | None,
    version: int,
) -> IngestKey:
    return IngestKey(
        key_id=key_id,
        merchant=merchant,
        kind=KeyKind(kind),
        site=site,
        unbounded_history=bool(unbounded_history),
        created_at=created_at,
        revoked_at=revoked_at,
        roles=roles_of(roles),
        expires_at=expires_at,
        display_name=display_name,
        prefix=prefix,
        updated_at=updated_at,
        rotated_from=rotated_from,
        version=version,
    )
