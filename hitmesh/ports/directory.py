"""The port to what is known of sites and keys, and the port to the time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Protocol

from hitmesh.model.sites import IngestKey, Site


class SiteDirectory(Protocol):
    """Sites, keys and salts. Reads may come from a cache that is at most 1 s old; what is not in it is looked up."""

    def site(self, name: str) -> Site | None:
        """Returns a site."""

    def sites(self, merchant: str | None, after: str, limit: int) -> Sequence[Site]:
        """Returns sites by name, those of one merchant or of all, names greater than `after`."""

    def create_site(self, site: Site) -> Site:
        """Creates a site durably; returns it. Creating the same again returns what is there.

        Raises:
            AlreadyExists: the name is taken with another zone, currency or policy.
        """

    def key(self, secret: str) -> IngestKey | None:
        """Returns the key with this secret, revoked ones included.

        Raises:
            KeyNotLookedUp: it is not known here, and too many look-ups found nothing lately. It may exist.
        """

    def create_key(self, key: IngestKey, secret: str) -> IngestKey:
        """Creates a key durably; only the secret's hash is kept."""

    def keys(self, merchant: str) -> Sequence[IngestKey]:
        """Returns the keys of a merchant."""

    def revoke_key(self, merchant: str, key_id: str, now: int) -> IngestKey:
        """Revokes a key durably; revoking twice keeps the first time.

        Raises:
            NotFound: the merchant has no such key.
        """

    def salt(self, site: str, local_date: date, today: date) -> bytes:
        """Returns the salt of a site-local date, making it when it is of `today` or a neighbour (rule I2).

        Salts older than the day before `today` are destroyed. A date that has none gets today's.
        """

    def mesh_secret(self) -> bytes:
        """Returns the secret of the mesh, 32 bytes; makes it, durably, when there is none yet.

        It keys hashes of texts that senders choose and that are stored (rule D0). It never changes, and no process
        sends it anywhere.
        """
