"""Sites, keys and salts in memory."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import date

from hitmesh.adapters.shared.directory_rules import (
    MESH_SECRET_BYTES,
    SALT_BYTES,
    agreed,
    oldest_salted,
    oldest_salted_anywhere,
    salted_date,
    secret_digest,
)
from hitmesh.model.errors import AlreadyExists, NotFound
from hitmesh.model.names import merchant_of
from hitmesh.model.sites import IngestKey, Site


class MemorySiteDirectory:
    """A SiteDirectory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sites: dict[str, Site] = {}
        self._keys: dict[bytes, IngestKey] = {}
        self._salts: dict[tuple[str, date], bytes] = {}
        self._mesh_secret = secrets.token_bytes(MESH_SECRET_BYTES)

    def site(self, name: str) -> Site | None:
        """Returns a site."""
        return self._sites.get(name)

    def sites(self, merchant: str | None, after: str, limit: int) -> Sequence[Site]:
        """Returns sites by name, those of one merchant or of all, names greater than `after`."""
        with self._lock:
            names = sorted(name for name in self._sites if name > after and merchant in (None, merchant_of(name)))
            return [self._sites[name] for name in names[:limit]]

    def create_site(self, site: Site) -> Site:
        """Creates a site; returns it, or what is there when it agrees.

        Raises:
            AlreadyExists: the name is taken with another zone, currency or policy.
        """
        with self._lock:
            return agreed(self._sites.setdefault(site.name, site), site)

    def key(self, secret: str) -> IngestKey | None:
        """Returns the key with this secret, revoked ones included."""
        return self._keys.get(secret_digest(secret))

    def create_key(self, key: IngestKey, secret: str) -> IngestKey:
        """Creates a key; only the secret's hash is kept.

        Raises:
            AlreadyExists: the merchant has a key of that id, or the secret is in use.
        """
        digest = secret_digest(secret)
        with self._lock:
            taken = any((one.merchant, one.key_id) == (key.merchant, key.key_id) for one in self._keys.values())
            if taken or digest in self._keys:
                raise AlreadyExists(f"{key.merchant} has a key {key.key_id}, or its secret is in use")
            self._keys[digest] = key
        return key

    def keys(self, merchant: str) -> Sequence[IngestKey]:
        """Returns the keys of a merchant, oldest first."""
        with self._lock:
            found = [key for key in self._keys.values() if key.merchant == merchant]
        return sorted(found, key=lambda key: (key.created_at, key.key_id))

    def revoke_key(self, merchant: str, key_id: str, now: int) -> IngestKey:
        """Revokes a key; revoking twice keeps the first time.

        Raises:
            NotFound: the merchant has no such key.
        """
        with self._lock:
            for digest, key in self._keys.items():
                if (key.merchant, key.key_id) == (merchant, key_id):
                    revoked = key if key.revoked_at is not None else replace(key, revoked_at=now)
                    self._keys[digest] = revoked
                    return revoked
        raise NotFound(f"{merchant} has no key {key_id}", field="name")

    def salt(self, site: str, local_date: date, today: date) -> bytes:
        """Returns the salt of a site-local date, making it when it is of `today` or a neighbour (rule I2)."""
        oldest, oldest_anywhere = oldest_salted(today), oldest_salted_anywhere(today)
        with self._lock:
            self._salts = {
                (one, day): salt
                for (one, day), salt in self._salts.items()
                if day >= (oldest if one == site else oldest_anywhere)
            }
            key = (site, salted_date(local_date, today))
            return self._salts.setdefault(key, secrets.token_bytes(SALT_BYTES))

    def mesh_secret(self) -> bytes:
        """Returns the secret of the mesh."""
        return self._mesh_secret
