"""Store keys on Cassandra. Conditional writes make ids and secrets unique, and order the changes of a key.

The table `key_secrets` finds a key by its secret's hash. A row of `key_secrets` gives access only while the key's own
row has the same hash.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from hitmesh.adapters.cassandra.directory_rows import key_of
from hitmesh.adapters.cassandra.quotas import Quotas
from hitmesh.adapters.cassandra.session import CassandraSession, Row
from hitmesh.adapters.shared.cached_keys import CachedKeys
from hitmesh.adapters.shared.directory_rules import no_key, secret_digest
from hitmesh.adapters.shared.key_values import KEY_COLUMNS, key_values, roles_value
from hitmesh.adapters.shared.known_keys import KnownKeys
from hitmesh.model.errors import AlreadyExists
from hitmesh.model.names import ingest_key_name
from hitmesh.model.sites import IngestKey

_OF_MERCHANT: Final = f"SELECT {KEY_COLUMNS} FROM ingest_keys WHERE merchant = ?"
_WITH_ID: Final = f"SELECT {KEY_COLUMNS}, secret_digest FROM ingest_keys WHERE merchant = ? AND key_id = ?"
_OWNER: Final = "SELECT merchant, key_id FROM key_secrets WHERE secret_digest = ?"
_FREE_SECRET: Final = "DELETE FROM key_secrets WHERE secret_digest = ? IF merchant = ? AND key_id = ?"
_INSERT: Final = (
    f"INSERT INTO ingest_keys ({KEY_COLUMNS}, secret_digest) "
    f"VALUES ({', '.join('?' * (KEY_COLUMNS.count(',') + 2))}) IF NOT EXISTS"
)
# The kind never changes. Without this condition, a null version would also match a row that does not exist.
_CHANGE: Final = """UPDATE ingest_keys
    SET roles = ?, display_name = ?, updated_at = ?, expires_at = ?, revoked_at = ?, version = ?
    WHERE merchant = ? AND key_id = ? IF kind = ? AND version = ?"""
_DELETE: Final = "DELETE FROM ingest_keys WHERE merchant = ? AND key_id = ? IF kind = ? AND version = ?"


class CassandraKeys(CachedKeys):
    """The keys on Cassandra. A base class of CassandraSiteDirectory. Thread-safe."""

    def __init__(self, session: CassandraSession, keys: KnownKeys, quotas: Quotas) -> None:
        super().__init__(keys)
        self._session = session
        self._quotas = quotas

    def _stored_key(self, digest: bytes) -> IngestKey | None:
        owners = self._session.run(_OWNER, (digest,))
        row = self._row(owners[0].merchant, owners[0].key_id) if owners else None
        if row is None or (row.secret_digest is not None and bytes(row.secret_digest) != digest):
            return None
        return self._quotas.with_key_quota(key_of(row))

    def create_key(self, key: IngestKey, secret: str) -> IngestKey:
        """Create a key durably; only the secret's hash is stored.

        Raises:
            AlreadyExists: the merchant has a key with that id, or the secret is in use.
        """
        digest, owner = secret_digest(secret), (key.merchant, key.key_id)
        taken = f"{key.merchant} already has a key {key.key_id}, or the secret is in use"
        if self._row(*owner) is not None:
            raise AlreadyExists(taken, merchant=key.merchant, key_id=key.key_id)
        # The secret is stored before the key. A stored secret without a key gives no access. A retry with the same key
        # finds the secret that the failed call stored.
        if not self._session.apply(
            "INSERT INTO key_secrets (secret_digest, merchant, key_id) VALUES (?, ?, ?) IF NOT EXISTS",
            (digest, *owner),
        ):
            there = self._session.run(_OWNER, (digest,), serial=True)[0]
            if (there.merchant, there.key_id) != owner:
                raise AlreadyExists(taken, merchant=key.merchant, key_id=key.key_id)
        *values, version = key_values(key)
        # Keys of earlier versions have no version number, and `_CHANGE` has one form for both: null is version 0.
        if not self._session.apply(_INSERT, (*values, version or None, digest)):
            # A concurrent caller created the key with another secret. The secret of the failed call must therefore not
            # give access to the key.
            self._session.apply(_FREE_SECRET, (digest, *owner))
            raise AlreadyExists(taken, merchant=key.merchant, key_id=key.key_id)
        self._keys.forget_unknown()
        return key

    def keys(self, merchant: str) -> Sequence[IngestKey]:
        """Return the merchant's keys, oldest first."""
        keys = self._quotas.with_key_quotas([key_of(row) for row in self._session.run(_OF_MERCHANT, (merchant,))])
        return sorted(keys, key=lambda key: (key.created_at, key.key_id))

    def key_with_id(self, merchant: str, key_id: str) -> IngestKey | None:
        """Return the merchant's key with this id; None if there is no such key."""
        row = self._row(merchant, key_id)
        return None if row is None else self._quotas.with_key_quota(key_of(row))

    def change_key(self, key: IngestKey) -> bool:
        """Store the next version of a key durably; return False if the stored version is not `key.version` - 1.

        Raises:
            NotFound: the merchant has no such key.
        """
        changing = (roles_value(key.roles), key.display_name, key.updated_at, key.expires_at, key.revoked_at)
        where = (key.merchant, key.key_id, key.kind.value, key.version - 1 or None)
        try:
            is_next = self._session.apply(_CHANGE, (*changing, key.version, *where))
        finally:  # after a time-out, the write may still take effect
            self.announce(ingest_key_name(key.merchant, key.key_id))
        if not is_next and self._row(key.merchant, key.key_id) is None:
            raise no_key(key.merchant, key.key_id)
        return is_next

    def delete_key(self, key: IngestKey) -> bool:
        """Delete a key with its quota durably; return False if the stored version is not `key.version`."""
        row = self._row(key.merchant, key.key_id)
        if row is not None:
            where = (key.merchant, key.key_id, key.kind.value, key.version or None)
            try:
                is_current = self._session.apply(_DELETE, where)
            finally:
                self.announce(ingest_key_name(key.merchant, key.key_id))
            if not is_current and self._row(key.merchant, key.key_id) is not None:
                return False
            if row.secret_digest is not None:
                self._session.apply(_FREE_SECRET, (bytes(row.secret_digest), key.merchant, key.key_id))
        self._quotas.delete(ingest_key_name(key.merchant, key.key_id))
        return True

    def _row(self, merchant: str, key_id: str) -> Row | None:
        rows = self._session.run(_WITH_ID, (merchant, key_id), serial=True)
        return rows[0] if rows else None
