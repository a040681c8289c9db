"""Changes of keys that every directory makes through its compare-and-set method `change_key`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace

from hitmesh.adapters.shared.directory_rules import no_key
from hitmesh.model.names import ingest_key_name
from hitmesh.model.sites import IngestKey, Role


class KeyChanges(ABC):
    """Revokes keys and replaces roles. A base class of directories."""

    @abstractmethod
    def key_with_id(self, merchant: str, key_id: str) -> IngestKey | None:
        """Return the merchant's key with this id; None if there is no such key."""

    @abstractmethod
    def change_key(self, key: IngestKey) -> bool:
        """Store the next version of a key; return False if the stored version is not `key.version` - 1.

        Raises:
            NotFound: the merchant has no such key.
        """

    @abstractmethod
    def announce(self, name: str) -> None:
        """Make the cached site or key with this full name outdated in all processes."""

    def revoke_key(self, merchant: str, key_id: str, now: int) -> IngestKey:
        """Revoke a key; a second revocation keeps the time of the first revocation.

        Raises:
            NotFound: the merchant has no such key.
        """

        def revoked(key: IngestKey) -> IngestKey:
            return key if key.revoked_at is not None else replace(key, revoked_at=now, updated_at=now)

        return self._changed(merchant, key_id, revoked)

    def change_key_roles(self, merchant: str, key_id: str, roles: frozenset[Role], now: int) -> IngestKey:
        """Replace a key's roles at a time (UTC ms), and return the key.

        Raises:
            NotFound: the merchant has no such key.
        """

        def with_roles(key: IngestKey) -> IngestKey:
            return key if key.roles == roles else replace(key, roles=roles, updated_at=now)

        return self._changed(merchant, key_id, with_roles)

    def _changed(self, merchant: str, key_id: str, change: Callable[[IngestKey], IngestKey]) -> IngestKey:
        while True:
            key = self.key_with_id(merchant, key_id)
            if key is None:
                raise no_key(merchant, key_id)
            changed = change(key)
            if changed == key:
                # An earlier call may have failed after its write and before the caches were invalidated.
                self.announce(ingest_key_name(merchant, key_id))
                return key
            changed = replace(changed, version=key.version + 1)
            if self.change_key(changed):
                return changed
