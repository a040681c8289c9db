"""The port to sites, ingest keys and salts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date
from typing import Protocol

from hitmesh.model.exclusion import SiteRules
from hitmesh.model.quotas import Quota
from hitmesh.model.sites import IngestKey, PolicyChange, Role, Site


class SiteDirectory(Protocol):
    """Stores sites, keys and salts.

    Reads may use a cache that is at most 1 s old. If the cache lacks an entry, the store is read.
    """

    def site(self, name: str) -> Site | None:
        """Return the site with this name; None if there is no such site, or if the site is deleted."""

    def site_or_deleted(self, name: str, *, fresh: bool = False) -> Site | None:
        """Return the site with this name, even if the site is deleted; None if there never was such a site.

        If `fresh` is true, the store is read. Only code that works on stored hits, or that changes the site, calls this
        method, because for callers a deleted site must look like a site that never existed.
        """

    def sites(self, merchant: str | None, after: str, limit: int, *, with_deleted: bool = False) -> Sequence[Site]:
        """Return the first `limit` sites of the merchant, or of all merchants, whose names follow `after`, in order."""

    def create_site(self, site: Site) -> Site:
        """Store a site durably and return the stored site.

        Idempotent: if an equal site already exists, the existing site is returned.

        Raises:
            AlreadyExists: a site with this name has a different time zone, currency or policy, or is deleted.
        """

    def change_site(self, stored: Site, changed: Site) -> bool:
        """Replace the mutable values of a site durably; return whether the store now has the changed site.

        Mutable are the display name, own hosts, allowed origins, consent default, cookieless counting, identification
        by user id, exclusion rules, time of the change and time of the deletion. `changed.revision` must be
        `stored.revision + 1`. If the store has another revision or another version of the rules than `stored`, because
        another caller changed the site first, nothing is written and the result is False. If `changed` equals `stored`,
        the values stay, and caches read the site again. The next call of `site` in this process returns the stored
        values; other processes see the change within 2 s.
        """

    def change_policy(self, name: str, change: PolicyChange) -> Site:
        """Store a change of a site's policy durably and return the site. Idempotent.

        Call this method at least POLICY_AHEAD_MS before the first day on which the changed policy applies.

        Raises:
            NotFound: no site has this name.
            AlreadyExists: the site has a different policy change that takes effect on the same day.
            RefusedError: the site already has MAX_POLICY_CHANGES changes.
        """

    def changing_sites(self, first_day: int, end_day: int) -> Collection[str]:
        """Return the names of sites whose policy changes on a day in [first_day, end_day).

        The call always reads the store. The result may include a change that an interrupted call stored only in part.
        """

    def change_rules(self, site: str, rules: SiteRules) -> bool:
        """Store the next version of a site's exclusion rules durably; return True if the store now has these rules.

        The new version must directly follow the stored version. If the new version does not follow the stored version,
        for example because another caller changed the rules first, the result is False. The next call of `site` in this
        process returns the stored rules. A repeated call with the same rules returns True.

        Raises:
            NotFound: no site has this name.
        """

    def key(self, secret: str) -> IngestKey | None:
        """Return the key with this secret, even if the key is revoked; None if there is no such key.

        Raises:
            KeyNotLookedUp: the cache does not hold the key. The store was not read, because too many recent look-ups
                found no key. The key may exist in the store.
        """

    def create_key(self, key: IngestKey, secret: str) -> IngestKey:
        """Store a new key durably, and return the key. The store gets only a hash of the secret."""

    def keys(self, merchant: str) -> Sequence[IngestKey]:
        """Return all keys of the merchant, including revoked keys."""

    def key_with_id(self, merchant: str, key_id: str) -> IngestKey | None:
        """Return the merchant's key with this id, with its quota; None if there is no such key. Reads the store."""

    def change_key(self, key: IngestKey) -> bool:
        """Store the next version of a key durably; return False if the stored version is not `key.version` - 1.

        Only roles, display name, update time, expiry and revocation of a key can change. Of several concurrent calls
        for the same version, exactly one returns True.

        Raises:
            NotFound: the merchant has no such key.
        """

    def delete_key(self, key: IngestKey) -> bool:
        """Delete a key and its secret's hash durably; return False if the stored version is not `key.version`.

        If the merchant has no such key, the result is True. The key's quota is deleted too. After a failure, the hash
        may remain in the store, and so may the hash of a key from an earlier version. Such a hash gives no access.
        """

    def revoke_key(self, merchant: str, key_id: str, now: int) -> IngestKey:
        """Revoke a key durably and return the key; a second revocation keeps the time of the first revocation.

        Raises:
            NotFound: the merchant has no such key.
        """

    def change_key_roles(self, merchant: str, key_id: str, roles: frozenset[Role], now: int) -> IngestKey:
        """Replace a key's roles durably at a time (UTC ms), and return the key. Idempotent.

        Raises:
            NotFound: the merchant has no such key.
        """

    def quota(self, name: str) -> Quota:
        """Return a merchant's, site's or key's stored quota, by full name. Reads the store.

        Sites and keys that other methods return also contain their quota.
        """

    def change_quota(self, name: str, quota: Quota, expected: int | None = None) -> bool:
        """Replace a merchant's, site's or key's quota durably; the caller has checked that the object exists.

        The change adds 1 to the stored version; `quota.version` is ignored. If `expected` is not None and not the
        stored version (0 if no quota is stored), nothing is stored and the result is False. Of several
        concurrent calls with the same `expected`, exactly one returns True. The next calls of `site` and `key` in this
        process return the new quota.
        """

    def announce(self, name: str) -> None:
        """Make all processes read a site or key again, by full name.

        Every method that changes a site, key or quota announces its change. Call this method if a repeated request
        finds its change stored: the first call may have failed between the change and its announcement. Without an
        announcement, a process may use the earlier value for up to ten minutes.
        """

    def salt(self, site: str, local_date: date, today: date) -> bytes:
        """Return the salt of a site-local date (rule I2).

        If the date is at most one day from `today`, a missing salt is created. If the date is more than one day from
        `today`, the result is the salt of `today`. A hit whose date is more than one day from `today` therefore gets a
        different visitor if the hit is sent again on another day. Salts for dates earlier than the day before `today`
        are destroyed.
        """

    def mesh_secret(self) -> bytes:
        """Return the mesh secret, 32 bytes; the first call creates and stores the secret durably.

        Texts that senders choose are hashed with this secret as the key (rule D0). The secret never changes, and no
        process sends the secret over the network.
        """
