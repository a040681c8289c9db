"""The port to sites, ingest keys and salts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date
from typing import Protocol

from hitmesh.model.exclusion import SiteRules
from hitmesh.model.sites import IngestKey, PolicyChange, Site


class SiteDirectory(Protocol):
    """Sites, keys and salts. Reads may come from a cache that is at most 1 s old; a cache miss reads the store."""

    def site(self, name: str) -> Site | None:
        """Return a site; None when no site has this name."""

    def sites(self, merchant: str | None, after: str, limit: int) -> Sequence[Site]:
        """Return at most `limit` sites whose names sort after `after`, by name; `merchant` None means all merchants."""

    def create_site(self, site: Site) -> Site:
        """Store a site durably and return the stored site. Idempotent: an equal existing site is returned unchanged.

        Raises:
            AlreadyExists: a site with this name has a different time zone, currency or policy.
        """

    def change_policy(self, name: str, change: PolicyChange) -> Site:
        """Store a change of a site's policy durably and return the site. Idempotent.

        Must be called only before the change's day begins (POLICY_AHEAD_MS).

        Raises:
            NotFound: no site has this name.
            AlreadyExists: the site has another change from the same day on.
            RefusedError: the site has MAX_POLICY_CHANGES changes.
        """

    def changing_sites(self, first_day: int, end_day: int) -> Collection[str]:
        """Return the names of sites whose policy changes on a day in [first_day, end_day), read from the store.

        A change whose storing was interrupted may be included.
        """

    def change_rules(self, site: str, rules: SiteRules) -> bool:
        """Store the next version of a site's exclusion rules durably; return whether that succeeded.

        The version must follow the stored version; another caller may have changed the rules first. The next call of
        `site` in this process returns the stored rules. A repeated call with the same rules returns True.

        Raises:
            NotFound: no site has this name.
        """

    def key(self, secret: str) -> IngestKey | None:
        """Return the key with this secret, revoked keys included.

        Raises:
            KeyNotLookedUp: the cache does not hold the key, and too many recent look-ups found no key. The key may
                exist.
        """

    def create_key(self, key: IngestKey, secret: str) -> IngestKey:
        """Store a new key durably, with a hash of the secret instead of the secret; return the key."""

    def keys(self, merchant: str) -> Sequence[IngestKey]:
        """Return the merchant's keys."""

    def revoke_key(self, merchant: str, key_id: str, now: int) -> IngestKey:
        """Revoke a key durably and return the key; a second revocation keeps the time of the first revocation.

        Raises:
            NotFound: the merchant has no such key.
        """

    def salt(self, site: str, local_date: date, today: date) -> bytes:
        """Return the salt of a site-local date (rule I2).

        A missing salt is created if the date is `today` or a neighbouring date. For any other date without a salt, the
        result is today's salt. A hit with such a date is therefore assigned to a different visitor on each day on which
        it is sent. Salts of dates before the day before `today` are destroyed.
        """

    def mesh_secret(self) -> bytes:
        """Return the mesh secret, 32 bytes; the first call creates and stores the secret durably.

        The secret is the key of the hashes of texts that senders choose (rule D0). The secret never changes, and no
        process sends the secret over the network.
        """
