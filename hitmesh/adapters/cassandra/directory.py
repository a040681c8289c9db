"""Store sites, keys and salts on Cassandra.

Cache entries stay valid until their site or key changes; changes are looked for twice a second. All entries are read
again every ten minutes, in case a process ended between a change and its announcement. While Cassandra is unavailable,
cache entries stay valid for up to an hour. Conditional writes make names and secrets unique. The module
hitmesh.adapters.shared.directory_rules decides which requests are refused and which salts are destroyed. The module
hitmesh.adapters.shared.known_keys limits look-ups of unknown keys.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence
from datetime import date
from typing import Final

from hitmesh.adapters.cassandra.directory_changes import DirectoryChanges
from hitmesh.adapters.cassandra.keys import CassandraKeys
from hitmesh.adapters.cassandra.mesh_secret import stored_mesh_secret
from hitmesh.adapters.cassandra.quotas import Quotas
from hitmesh.adapters.cassandra.salts import Salts
from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.adapters.cassandra.sites import StoredSites
from hitmesh.adapters.shared.directory_rules import with_change
from hitmesh.adapters.shared.known_keys import MAX_KEPT, KnownKeys
from hitmesh.model.errors import HitmeshError, Unavailable
from hitmesh.model.exclusion import SiteRules
from hitmesh.model.limits import UNKNOWN_KEYS_S
from hitmesh.model.quotas import Quota
from hitmesh.model.sites import PolicyChange, Site
from hitmesh.ports import Clock
from hitmesh.runtime.logs import logger

CHECK_INTERVAL_MS: Final = 500
GOOD_FOR_MS: Final = 3_600_000
KEPT_FOR_MS: Final = 600_000
# Seconds that a call waits for the version check before the call uses the cache.
_PATIENCE_S: Final = 0.25
_MAX_UNKNOWN: Final = 10_000


class CassandraSiteDirectory(CassandraKeys):
    """Implements the port SiteDirectory. Thread-safe.

    Args:
        session: a session on the keyspace.
        clock: measures the age of cached entries.
        unknown_keys_s: maximum number of look-ups for unknown keys per second.
        kept_for_ms: age at which all cached entries are read again.
    """

    def __init__(
        self,
        session: CassandraSession,
        clock: Clock,
        *,
        unknown_keys_s: int = UNKNOWN_KEYS_S,
        kept_for_ms: int = KEPT_FOR_MS,
    ) -> None:
        super().__init__(session, KnownKeys(clock, unknown_keys_s, max_unknown=_MAX_UNKNOWN), Quotas(session))
        self._clock = clock
        self._lock = threading.Lock()
        self._checking = threading.Lock()
        self._changes = DirectoryChanges(session)
        self._times_changed = 0
        self._kept_for_ms = kept_for_ms
        self._emptied_at = 0
        self._checked_at: int | None = None
        self._answered_at: int | None = None
        self._checker: threading.Thread | None = None
        self._sites: dict[str, Site] = {}
        self._salts = Salts(session)
        self._stored = StoredSites(session, self._quotas)
        self._mesh_secret: bytes | None = None

    def site(self, name: str) -> Site | None:
        """Return the site with this name; None if there is no such site, or if the site is deleted."""
        site = self.site_or_deleted(name)
        return None if site is None or site.deleted_at is not None else site

    def site_or_deleted(self, name: str, *, fresh: bool = False) -> Site | None:
        """Return the site with this name, even if the site is deleted; None if there never was such a site."""
        self._refresh()
        site = None if fresh else self._sites.get(name)
        if site is None:
            times_changed = self._times_changed
            site = self._stored.site(name, serial=fresh)
            self._keep(site, times_changed)
        return site

    def _keep(self, site: Site | None, times_changed: int) -> None:
        """Keep a site, unless changes were found since the look-up began: the store may have had an earlier value."""
        with self._lock:
            if site is not None and self._times_changed == times_changed:
                self._sites[site.name] = site

    def sites(self, merchant: str | None, after: str, limit: int, *, with_deleted: bool = False) -> Sequence[Site]:
        """Return the sites whose names follow `after`, ordered by name; `merchant` None means all merchants."""
        return self._stored.sites(merchant, after, limit, with_deleted=with_deleted)

    def create_site(self, site: Site) -> Site:
        """Create a site durably; return the new site.

        If the site exists with the same zone, currency and policy, return the existing site.

        Raises:
            AlreadyExists: a site with this name has another zone, currency or policy, or is deleted.
        """
        return self._stored.create(site)

    def change_site(self, stored: Site, changed: Site) -> bool:
        """Replace the mutable values of a site durably; return whether the store now has the changed site."""
        try:
            return self._stored.replace(stored, changed)
        finally:  # after a time-out, the write may still take effect
            self.announce(stored.name)

    def change_policy(self, name: str, change: PolicyChange) -> Site:
        """Store a change of a site's policy durably; return the site.

        Raises:
            NotFound: no site has this name.
            AlreadyExists: the site has a different policy change that takes effect on the same day.
            RefusedError: the site has MAX_POLICY_CHANGES changes.
        """
        self._stored.change_policy(name, change)
        self.announce(name)
        return with_change(self._stored.site(name, serial=True), name, change)

    def changing_sites(self, first_day: int, end_day: int) -> Collection[str]:
        """Return the names of sites whose policy changes on a day in [first_day, end_day)."""
        return self._stored.changing(first_day, end_day)

    def change_rules(self, site: str, rules: SiteRules) -> bool:
        """Store the next version of a site's rules durably; return True if the store now has these rules.

        Raises:
            NotFound: no site has this name.
        """
        is_changed = self._stored.change_rules(site, rules)
        # A repeated call also invalidates the caches, because the first call may have failed before it invalidated the
        # caches.
        if is_changed:
            self.announce(site)
        return is_changed

    def quota(self, name: str) -> Quota:
        """Return a merchant's, site's or key's stored quota."""
        return self._quotas.of(name)

    def change_quota(self, name: str, quota: Quota, expected: int | None = None) -> bool:
        """Replace a merchant's, site's or key's quota durably, unless its version is not `expected`."""
        try:
            return self._quotas.put(name, quota, expected)
        finally:  # after a time-out, the write may still take effect
            self.announce(name)

    def salt(self, site: str, local_date: date, today: date) -> bytes:
        """Return the salt of a site-local date; create a missing salt for `today` or a neighbouring date (rule I2)."""
        return self._salts.of(site, local_date, today)

    def mesh_secret(self) -> bytes:
        """Return the mesh's secret; create the secret on first use."""
        if self._mesh_secret is None:
            self._mesh_secret = stored_mesh_secret(self._session)
        return self._mesh_secret

    def announce(self, name: str) -> None:
        """Make the cache entry of a site or key outdated in all processes; must be called after a change."""
        self._changes.note(name)
        self._sites.pop(name, None)
        with self._lock:
            # A check in progress may not see this change. The next call must therefore start a new check.
            self._checked_at, self._checker = None, None

    def _refresh(self) -> None:
        """Drop the cache entries that have changed; look for changes at most twice a second.

        A background thread reads the changes. The call that starts the thread waits up to 0.25 s for the changes. If
        the thread is already running, a call uses the cache at once.

        Raises:
            Unavailable: Cassandra has been unavailable for longer than the cache is valid.
        """
        now = self._clock.now()
        if self._checked_at is not None and abs(now - self._checked_at) < CHECK_INTERVAL_MS:
            return
        if self._answered_at is None:
            self._check(now)
            self._checked_at = now
            return
        with self._lock:
            is_checking = self._checker is not None and self._checker.is_alive()
            if not is_checking:
                self._checked_at = now
                self._checker = threading.Thread(target=self._check_or_warn, args=(now,), daemon=True)
                self._checker.start()
            checking = self._checker
        if checking is not None and not is_checking:
            checking.join(_PATIENCE_S)
        if now - self._answered_at > GOOD_FOR_MS:
            raise Unavailable(
                "sites and keys were last read from Cassandra over an hour ago and may be stale: check that Cassandra "
                "runs, then try again"
            )

    def _check_or_warn(self, now: int) -> None:
        try:
            self._check(now)
        except HitmeshError as error:
            logger().warning("directory_not_reached", message=error.message)

    def _check(self, now: int) -> None:
        with self._checking:
            self._forget(self._changes.changed(), now)

    def _forget(self, names: Sequence[str] | None, now: int) -> None:
        """Drop the cache entries with these names; None: all entries."""
        with self._lock:
            full = len(self._sites) + len(self._keys) > MAX_KEPT
            if names is None or full or now - self._emptied_at >= self._kept_for_ms:
                # The cache gets a new dictionary, because a look-up in progress may still use the old dictionary.
                self._sites = {}
                self._keys.forget()
                self._emptied_at = now
            elif names:
                for name in names:
                    self._sites.pop(name, None)
                self._keys.forget_some(names)
            self._times_changed += names != ()
            self._keys.forget_unknown()
            self._answered_at = now
