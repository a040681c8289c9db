"""Store sites, keys and salts on one machine, in directory.db.

Sites and keys are cached until the file changes. The cache checks the file at most every half second. A site or key
that is not cached is looked up, so a new site or key works immediately. The module hitmesh.adapters.shared.known_keys
limits look-ups for unknown keys. A key's secret is stored only as its SHA-256. Deleted salts are overwritten.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Collection, Sequence
from datetime import date
from typing import Final

from hitmesh.adapters.embedded.keys import EmbeddedKeys
from hitmesh.adapters.embedded.quotas import quota_in, store_quota
from hitmesh.adapters.embedded.sites import insert_site, replace_site, stored_site, stored_sites
from hitmesh.adapters.embedded.sqlite import Database, Watch
from hitmesh.adapters.shared.directory_rules import (
    MESH_SECRET_BYTES,
    SALT_BYTES,
    agreed,
    follows,
    no_site,
    oldest_salted,
    oldest_salted_anywhere,
    salted_date,
    with_change,
)
from hitmesh.adapters.shared.known_keys import MAX_KEPT, KnownKeys
from hitmesh.adapters.shared.rule_values import rules_value
from hitmesh.model.exclusion import SiteRules
from hitmesh.model.limits import UNKNOWN_KEYS_S
from hitmesh.model.quotas import Quota
from hitmesh.model.sites import PolicyChange, Site
from hitmesh.ports import Clock

CHECK_INTERVAL_MS: Final = 500


class EmbeddedSiteDirectory(EmbeddedKeys):
    """Implements the port SiteDirectory in directory.db. Thread-safe.

    Args:
        database: directory.db.
        clock: measures the age of cached data.
        unknown_keys_s: maximum number of look-ups for unknown keys per second.
    """

    def __init__(self, database: Database, clock: Clock, *, unknown_keys_s: int = UNKNOWN_KEYS_S) -> None:
        super().__init__(database, KnownKeys(clock, unknown_keys_s))
        self._clock = clock
        self._lock = threading.Lock()
        self._watch: Watch | None = None
        self._sites: dict[str, Site] = {}
        self._salts: dict[tuple[str, date], bytes] = {}
        self._salted_on: dict[str, date] = {}
        self._forgot_on = date.min
        self._mesh_secret: bytes | None = None

    def site(self, name: str) -> Site | None:
        """Return the site with this name; None if there is no such site, or if the site is deleted."""
        site = self.site_or_deleted(name)
        return None if site is None or site.deleted_at is not None else site

    def site_or_deleted(self, name: str, *, fresh: bool = False) -> Site | None:
        """Return the site with this name, even if the site is deleted; None if there never was such a site."""
        self._refresh()
        kept = self._sites
        site = None if fresh else kept.get(name)
        if site is None:
            with self._database.reading() as transaction:
                site = stored_site(transaction, name)
            if site is not None:
                kept[name] = site
        return site

    def sites(self, merchant: str | None, after: str, limit: int, *, with_deleted: bool = False) -> Sequence[Site]:
        """Return the sites whose names follow `after`, ordered by name; `merchant` None means all merchants."""
        with self._database.reading() as transaction:
            return stored_sites(transaction, merchant, after, limit, with_deleted=with_deleted)

    def create_site(self, site: Site) -> Site:
        """Create a site durably; return the new site.

        If the site exists with the same zone, currency and policy, return the existing site.

        Raises:
            AlreadyExists: a site with this name has another zone, currency or policy, or is deleted.
        """
        with self._database.writing() as transaction:
            existing = stored_site(transaction, site.name)
            if existing is not None:
                return agreed(existing, site)
            insert_site(transaction, site)
        return site

    def change_site(self, stored: Site, changed: Site) -> bool:
        """Replace the mutable values of a site durably; return whether the store now has the changed site."""
        with self._database.writing() as transaction:
            is_changed = replace_site(transaction, stored, changed)
        self._checked_at = None
        return is_changed

    def change_policy(self, name: str, change: PolicyChange) -> Site:
        """Store a change of a site's policy durably; return the site.

        Raises:
            NotFound: no site has this name.
            AlreadyExists: the site has a different policy change that takes effect on the same day.
            RefusedError: the site has MAX_POLICY_CHANGES changes.
        """
        with self._database.writing() as transaction:
            site = with_change(stored_site(transaction, name), name, change)
            transaction.run("INSERT OR IGNORE INTO policy_changes VALUES (?, ?, ?, ?)", (name, *change))
        self._checked_at = None
        return site

    def changing_sites(self, first_day: int, end_day: int) -> Collection[str]:
        """Return the names of sites whose policy changes on a day in [first_day, end_day)."""
        with self._database.reading() as transaction:
            return transaction.rows(
                str,
                "SELECT DISTINCT site FROM policy_changes WHERE from_day >= ? AND from_day < ?",
                (first_day, end_day),
            )

    def change_rules(self, site: str, rules: SiteRules) -> bool:
        """Store the next version of a site's rules durably; return True if the store now has these rules.

        Raises:
            NotFound: no site has this name.
        """
        with self._database.writing() as transaction:
            there = stored_site(transaction, site)
            if there is None:
                raise no_site(site)
            is_next = follows(there.rules, rules)
            if is_next:
                transaction.run("UPDATE sites SET rules = ? WHERE name = ?", (rules_value(rules), site))
        self._sites.pop(site, None)
        return is_next or there.rules == rules

    def quota(self, name: str) -> Quota:
        """Return a merchant's, site's or key's stored quota."""
        with self._database.reading() as transaction:
            return quota_in(transaction, name)

    def change_quota(self, name: str, quota: Quota, expected: int | None = None) -> bool:
        """Replace a merchant's, site's or key's quota durably, unless its version is not `expected`."""
        with self._database.writing() as transaction:
            is_stored = store_quota(transaction, name, quota, expected)
        self._checked_at = None
        return is_stored

    def salt(self, site: str, local_date: date, today: date) -> bytes:
        """Return the salt for a site-local date; create a missing salt for `today` or a neighbouring date (rule I2)."""
        salted = salted_date(local_date, today)
        with self._lock:
            kept = self._salts.get((site, salted))
            if kept is not None and self._salted_on.get(site) == today:
                return kept
            return self._stored_salt(site, salted, today)

    def mesh_secret(self) -> bytes:
        """Return the mesh secret; create the secret on the first call."""
        if self._mesh_secret is None:
            self._mesh_secret = self._stored_mesh_secret()
        return self._mesh_secret

    def _stored_mesh_secret(self) -> bytes:
        query = "SELECT secret FROM mesh_secrets WHERE one = 1"
        with self._database.reading() as transaction:
            secret = transaction.first(bytes, query)
        if secret is None:
            made = secrets.token_bytes(MESH_SECRET_BYTES)
            with self._database.writing() as transaction:
                transaction.run("INSERT OR IGNORE INTO mesh_secrets VALUES (1, ?)", (made,))
                secret = transaction.first(bytes, query)
        assert secret is not None  # the secret was inserted above or existed before
        return secret

    def _stored_salt(self, site: str, salted: date, today: date) -> bytes:
        oldest = oldest_salted(today)
        with self._database.writing() as transaction:
            destroyed = transaction.run(
                "DELETE FROM salts WHERE site = ? AND local_date < ?", (site, oldest.isoformat())
            ) + transaction.run("DELETE FROM salts WHERE local_date < ?", (oldest_salted_anywhere(today).isoformat(),))
            key = (site, salted.isoformat())
            transaction.run("INSERT OR IGNORE INTO salts VALUES (?, ?, ?)", (*key, secrets.token_bytes(SALT_BYTES)))
            salt = transaction.first(bytes, "SELECT salt FROM salts WHERE site = ? AND local_date = ?", key)
        assert salt is not None  # the salt was inserted in this transaction or existed before
        if destroyed:
            # Without a checkpoint, pages of the write-ahead log would still contain the deleted salts.
            self._database.checkpoint()
        self._forget_salts(site, today)
        self._salts[site, salted] = salt
        self._salted_on[site] = today
        return salt

    def _forget_salts(self, site: str, today: date) -> None:
        """Remove destroyed salts from memory.

        This site's salt is removed at once; the salts of other sites are removed once a day.
        """
        self._salts.pop((site, oldest_salted_anywhere(today)), None)
        if today > self._forgot_on:
            oldest = oldest_salted_anywhere(today)
            self._salts = {key: salt for key, salt in self._salts.items() if key[1] >= oldest}
            self._forgot_on = today

    def _refresh(self) -> None:
        """Clear the cache if the file has changed or the cache is full; check at most every half second."""
        now = self._clock.now()
        checked_at = self._checked_at
        if checked_at is not None and abs(now - checked_at) < CHECK_INTERVAL_MS:
            return
        with self._lock:
            if self._watch is None:
                self._watch = self._database.watch()
            full = len(self._sites) + len(self._keys) > MAX_KEPT
            if self._watch.changed() or full:
                # The cache gets a new dictionary, because a look-up in progress may still write to the old dictionary.
                self._sites = {}
                self._keys.forget()
            self._checked_at = now
