"""The look-up of a key by its secret, for directories that keep keys in memory until the directory changes."""

from __future__ import annotations

from abc import abstractmethod

from hitmesh.adapters.shared.directory_rules import secret_digest
from hitmesh.adapters.shared.key_changes import KeyChanges
from hitmesh.adapters.shared.known_keys import KnownKeys
from hitmesh.model.sites import IngestKey


class CachedKeys(KeyChanges):
    """Finds keys in memory, or else in the store. A base class of directories.

    Args:
        keys: the keys in memory.
    """

    def __init__(self, keys: KnownKeys) -> None:
        self._keys = keys

    @abstractmethod
    def _refresh(self) -> None:
        """Drop the keys in memory that have changed."""

    @abstractmethod
    def _stored_key(self, digest: bytes) -> IngestKey | None:
        """Return the stored key whose secret has this SHA-256; None if there is no such key."""

    def key(self, secret: str) -> IngestKey | None:
        """Return the key with this secret, even if the key is revoked; None if there is no such key.

        Raises:
            KeyNotLookedUp: too many recent look-ups found no key, so this key was not looked up.
        """
        self._refresh()
        digest = secret_digest(secret)
        return self._keys.of(digest, lambda: self._stored_key(digest))
