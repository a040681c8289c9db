"""Keep keys in memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

from hitmesh.adapters.shared.directory_rules import no_key, secret_digest
from hitmesh.adapters.shared.key_changes import KeyChanges
from hitmesh.model.errors import AlreadyExists
from hitmesh.model.names import ingest_key_name
from hitmesh.model.quotas import Quota
from hitmesh.model.sites import IngestKey


class MemoryKeys(KeyChanges):
    """The keys and quotas of a directory in memory. A base class of MemorySiteDirectory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: dict[bytes, IngestKey] = {}
        self._quotas: dict[str, Quota] = {}

    def key(self, secret: str) -> IngestKey | None:
        """Return the key with this secret, even if the key is revoked; None if there is no such key."""
        key = self._keys.get(secret_digest(secret))
        return None if key is None else self._key_with_quota(key)

    def create_key(self, key: IngestKey, secret: str) -> IngestKey:
        """Create a key; only the secret's hash is kept.

        Raises:
            AlreadyExists: the merchant has a key with this id, or the secret is in use.
        """
        digest = secret_digest(secret)
        with self._lock:
            if self._digest_of(key.merchant, key.key_id) is not None or digest in self._keys:
                raise AlreadyExists(
                    f"{key.merchant} already has a key {key.key_id}, or the secret is in use",
                    merchant=key.merchant,
                    key_id=key.key_id,
                )
            self._keys[digest] = key
        return key

    def keys(self, merchant: str) -> Sequence[IngestKey]:
        """Return a merchant's keys, oldest first."""
        with self._lock:
            found = [self._key_with_quota(key) for key in self._keys.values() if key.merchant == merchant]
        return sorted(found, key=lambda key: (key.created_at, key.key_id))

    def key_with_id(self, merchant: str, key_id: str) -> IngestKey | None:
        """Return the merchant's key with this id; None if there is no such key."""
        with self._lock:
            digest = self._digest_of(merchant, key_id)
            return None if digest is None else self._key_with_quota(self._keys[digest])

    def change_key(self, key: IngestKey) -> bool:
        """Store the next version of a key; return False if the stored version is not `key.version` - 1.

        Raises:
            NotFound: the merchant has no such key.
        """
        with self._lock:
            digest = self._digest_of(key.merchant, key.key_id)
            if digest is None:
                raise no_key(key.merchant, key.key_id)
            is_next = self._keys[digest].version == key.version - 1
            if is_next:
                self._keys[digest] = key
            return is_next

    def delete_key(self, key: IngestKey) -> bool:
        """Delete a key with its quota; return False if the stored version is not `key.version`."""
        with self._lock:
            digest = self._digest_of(key.merchant, key.key_id)
            if digest is not None and self._keys[digest].version != key.version:
                return False
            if digest is not None:
                del self._keys[digest]
            self._quotas.pop(ingest_key_name(key.merchant, key.key_id), None)
            return True

    def announce(self, name: str) -> None:
        """Do nothing, because nothing is cached."""

    def _digest_of(self, merchant: str, key_id: str) -> bytes | None:
        return next(
            (digest for digest, key in self._keys.items() if (key.merchant, key.key_id) == (merchant, key_id)), None
        )

    def _key_with_quota(self, key: IngestKey) -> IngestKey:
        quota = self._quotas.get(ingest_key_name(key.merchant, key.key_id))
        return key if quota is None else replace(key, quota=quota)
