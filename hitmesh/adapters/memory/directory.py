"""Keep sites, keys and salts in memory."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import date

from hitmesh.adapters.memory.keys import MemoryKeys
from hitmesh.adapters.shared.directory_rules import (
    MESH_SECRET_BYTES,
    SALT_BYTES,
    agreed,
    follows,
    is_same_change,
    may_replace,
    no_site,
    oldest_salted,
    oldest_salted_anywhere,
    salted_date,
    with_change,
)
from hitmesh.model.exclusion import SiteRules
from hitmesh.model.names import merchant_of
from hitmesh.model.quotas import NO_QUOTA, Quota
from hitmesh.model.sites import PolicyChange, Site


class MemorySiteDirectory(MemoryKeys):
    """Implements the port SiteDirectory in memory."""

    def __init__(self) -> None:
        super().__init__()
        self._sites: dict[str, Site] = {}
        self._salts: dict[tuple[str, date], bytes] = {}
        self._mesh_secret = secrets.token_bytes(MESH_SECRET_BYTES)

    def site(self, name: str) -> Site | None:
        """Return the site with this name; None if there is no such site, or if the site is deleted."""
        site = self.site_or_deleted(name)
        return None if site is None or site.deleted_at is not None else site

    def site_or_deleted(self, name: str, *, fresh: bool = False) -> Site | None:
        """Return the site with this name, even if the site is deleted; None if there never was such a site."""
        site = self._sites.get(name)
        return None if site is None else self._with_quota(site)

    def sites(self, merchant: str | None, after: str, limit: int, *, with_deleted: bool = False) -> Sequence[Site]:
        """Return the sites whose names follow `after`, ordered by name; `merchant` None means all merchants."""
        with self._lock:
            found = [
                site
                for name, site in self._sites.items()
                if name > after and merchant in (None, merchant_of(name)) and (with_deleted or site.deleted_at is None)
            ]
            return [self._with_quota(site) for site in sorted(found, key=lambda site: site.name)[:limit]]

    def create_site(self, site: Site) -> Site:
        """Create a site; return the new site.

        If the site exists with the same zone, currency and policy, return the existing site.

        Raises:
            AlreadyExists: a site with this name has another zone, currency or policy, or is deleted.
        """
        with self._lock:
            return agreed(self._sites.setdefault(site.name, site), site)

    def change_site(self, stored: Site, changed: Site) -> bool:
        """Replace the mutable values of a site; return whether the directory now has the changed site."""
        with self._lock:
            there = self._sites.get(stored.name)
            if there is not None and may_replace(there, stored):
                self._sites[stored.name] = replace(changed, policy_changes=there.policy_changes)
            return is_same_change(self._sites.get(stored.name), changed)

    def change_policy(self, name: str, change: PolicyChange) -> Site:
        """Store a change of a site's policy; return the site.

        Raises:
            NotFound: no site has this name.
            AlreadyExists: the site has a different policy change that takes effect on the same day.
            RefusedError: the site has MAX_POLICY_CHANGES changes.
        """
        with self._lock:
            self._sites[name] = with_change(self._sites.get(name), name, change)
            return self._sites[name]

    def changing_sites(self, first_day: int, end_day: int) -> Collection[str]:
        """Return the names of sites whose policy changes on a day in [first_day, end_day)."""
        with self._lock:
            sites = list(self._sites.values())
        return {
            site.name for site in sites if any(first_day <= each.from_day < end_day for each in site.policy_changes)
        }

    def change_rules(self, site: str, rules: SiteRules) -> bool:
        """Store the next version of a site's rules; return True if the store now has these rules.

        Raises:
            NotFound: no site has this name.
        """
        with self._lock:
            there = self._sites.get(site)
            if there is None:
                raise no_site(site)
            if follows(there.rules, rules):
                self._sites[site] = replace(there, rules=rules)
            return self._sites[site].rules == rules

    def quota(self, name: str) -> Quota:
        """Return a merchant's, site's or key's stored quota."""
        return self._quotas.get(name, NO_QUOTA)

    def change_quota(self, name: str, quota: Quota, expected: int | None = None) -> bool:
        """Replace a merchant's, site's or key's quota, unless its version is not `expected`."""
        with self._lock:
            version = self._quotas.get(name, NO_QUOTA).version
            if expected not in (None, version):
                return False
            self._quotas[name] = replace(quota, version=version + 1)
            return True

    def _with_quota(self, site: Site) -> Site:
        quota = self._quotas.get(site.name)
        return site if quota is None else replace(site, quota=quota)

    def salt(self, site: str, local_date: date, today: date) -> bytes:
        """Return the salt for a site-local date; create a missing salt for `today` or a neighbouring date (rule I2)."""
        oldest, oldest_anywhere = oldest_salted(today), oldest_salted_anywhere(today)
        with self._lock:
            self._salts = {
                (other, day): salt
                for (other, day), salt in self._salts.items()
                if day >= (oldest if other == site else oldest_anywhere)
            }
            key = (site, salted_date(local_date, today))
            return self._salts.setdefault(key, secrets.token_bytes(SALT_BYTES))

    def mesh_secret(self) -> bytes:
        """Return the mesh secret."""
        return self._mesh_secret
