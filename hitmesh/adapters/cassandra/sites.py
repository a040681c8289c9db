"""Read and write sites on Cassandra, without a cache.

Conditional writes make names unique, and let only one of several concurrent changes of a site succeed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from hitmesh.adapters.cassandra.names import bucket_of, names_after
from hitmesh.adapters.cassandra.quotas import Quotas
from hitmesh.adapters.cassandra.session import CassandraSession, Row
from hitmesh.adapters.shared.directory_rules import agreed, follows, is_same_change, no_site, with_change
from hitmesh.adapters.shared.rule_values import rules_value
from hitmesh.adapters.shared.site_values import (
    MUTABLE_COLUMNS,
    SITE_COLUMNS,
    mutable_columns,
    site_values,
    with_mutable_columns,
)
from hitmesh.model.exclusion import SiteRules
from hitmesh.model.names import merchant_of
from hitmesh.model.sites import PolicyChange, Site, VisitPolicy

_FEW_CHANGED: Final = 200
_CHANGED_SITES: Final = "SELECT DISTINCT site FROM policy_changes LIMIT ?"
_CHANGES: Final = "SELECT from_day, campaign_splits, split_at_local_midnight FROM policy_changes WHERE site = ?"
_SITE: Final = f"SELECT {SITE_COLUMNS} FROM sites WHERE name = ?"
_CREATE: Final = f"""INSERT INTO sites ({SITE_COLUMNS}, rules_version)
    VALUES ({"?, " * len(SITE_COLUMNS.split(","))}?) IF NOT EXISTS"""
_REPLACE: Final = f"""UPDATE sites SET {" = ?, ".join(MUTABLE_COLUMNS)} = ?, rules_version = ?
    WHERE name = ? IF revision = ? AND rules_version = ? AND created_at != null"""


class StoredSites:
    """Reads and writes sites. Thread-safe."""

    def __init__(self, session: CassandraSession, quotas: Quotas) -> None:
        self._session = session
        self._quotas = quotas

    def site(self, name: str, *, serial: bool = False) -> Site | None:
        """Return the site with this name, even if the site is deleted; `serial` as in CassandraSession.run."""
        rows = self._session.run(_SITE, (name,), serial=serial)
        sites = self._quotas.with_quotas([_site_of(row) for row in rows])
        return self._with_changes(sites, serial=serial)[0] if sites else None

    def sites(self, merchant: str | None, after: str, limit: int, *, with_deleted: bool) -> list[Site]:
        """Return the sites whose names follow `after`, ordered by name; `merchant` None means all merchants."""
        found: list[Site] = []
        while len(found) < limit:
            names = self._names(merchant, after, limit)
            found += [site for site in self._named(names) if with_deleted or site.deleted_at is None]
            if len(names) < limit:
                break
            after = names[-1]
        return found[:limit]

    def create(self, site: Site) -> Site:
        """Create a site durably; return the new site, or the existing site if the sites agree.

        Raises:
            AlreadyExists: a site with this name has another zone, currency or policy, or is deleted.
        """
        self._session.apply(_CREATE, (*site_values(site), site.rules.version or None))
        rows = self._session.run(_SITE, (site.name,), serial=True)
        (there,) = self._with_changes([agreed(_site_of(rows[0]), site)])
        # Rows in `sites_of_merchant` and `site_names` are written even if the site exists. The process that created the
        # site may have failed right after the write to `sites`.
        self._session.run(
            "INSERT INTO sites_of_merchant (merchant, name) VALUES (?, ?)", (merchant_of(site.name), site.name)
        )
        self._session.run("INSERT INTO site_names (bucket, name) VALUES (?, ?)", (bucket_of(site.name), site.name))
        return there

    def replace(self, stored: Site, changed: Site) -> bool:
        """Replace the mutable values of a site that is still as `stored`; return whether the site is as `changed`."""
        if self._session.apply(
            _REPLACE,
            (
                *mutable_columns(changed),
                changed.rules.version or None,
                stored.name,
                stored.revision or None,
                stored.rules.version or None,
            ),
        ):
            return True
        return is_same_change(self.site(stored.name, serial=True), changed)

    def change_policy(self, name: str, change: PolicyChange) -> None:
        """Store a change of a site's policy. The caller has checked the change against the stored changes."""
        with_change(self.site(name), name, change)
        # The row in `policy_change_days` is written first, so that the stream finds every site whose policy changes on
        # a day.
        self._session.run("INSERT INTO policy_change_days (from_day, site) VALUES (?, ?)", (change.from_day, name))
        self._session.apply(
            """INSERT INTO policy_changes (site, from_day, campaign_splits, split_at_local_midnight)
            VALUES (?, ?, ?, ?) IF NOT EXISTS""",
            (name, *change),
        )

    def changing(self, first_day: int, end_day: int) -> set[str]:
        """Return the names of sites whose policy changes on a day in [first_day, end_day)."""
        answers = self._session.run_each(
            "SELECT site FROM policy_change_days WHERE from_day = ?", [(day,) for day in range(first_day, end_day)]
        )
        return {row.site for rows in answers for row in rows}

    def change_rules(self, site: str, rules: SiteRules) -> bool:
        """Store the next version of a site's rules durably; return True if the store now has these rules.

        Raises:
            NotFound: no site has this name.
        """
        found = self._session.run(_SITE, (site,), serial=True)
        if not found:
            raise no_site(site)
        stored = _site_of(found[0]).rules
        if follows(stored, rules):
            self._session.apply(
                "UPDATE sites SET rules = ?, rules_version = ? WHERE name = ? IF rules_version = ?",
                (rules_value(rules), rules.version, site, stored.version or None),
            )
            stored = _site_of(self._session.run(_SITE, (site,), serial=True)[0]).rules
        return stored == rules

    def _names(self, merchant: str | None, after: str, limit: int) -> list[str]:
        if merchant is None:
            return names_after(self._session, "site_names", after, limit)
        cql = "SELECT name FROM sites_of_merchant WHERE merchant = ? AND name > ? LIMIT ?"
        return [row.name for row in self._session.run(cql, (merchant, after, limit))]

    def _named(self, names: Sequence[str]) -> Iterator[Site]:
        found = self._session.run_each(_SITE, [(name,) for name in names])
        sites = self._quotas.with_quotas([_site_of(rows[0]) for rows in found if rows])
        changed = self._few_changed() if len(sites) > 1 else None
        if changed is None:
            yield from self._with_changes(sites)
            return
        with_changes = iter(self._with_changes([site for site in sites if site.name in changed]))
        for site in sites:
            yield next(with_changes) if site.name in changed else site

    def _few_changed(self) -> set[str] | None:
        """Return all sites with policy changes, or None if more than `_FEW_CHANGED` sites have policy changes."""
        rows = self._session.run(_CHANGED_SITES, (_FEW_CHANGED + 1,))
        return {row.site for row in rows} if len(rows) <= _FEW_CHANGED else None

    def _with_changes(self, sites: Sequence[Site], *, serial: bool = False) -> list[Site]:
        answers = self._session.run_each(_CHANGES, [(site.name,) for site in sites], serial=serial)
        return [
            replace(site, policy_changes=tuple(map(_policy_change_of, rows)))
            for site, rows in zip(sites, answers, strict=True)
        ]


def _site_of(row: Row) -> Site:
    """Return the site in a row of SITE_COLUMNS, without policy changes."""
    site = Site(
        name=row.name,
        time_zone=row.time_zone,
        currency=row.currency,
        secret=bytes(row.secret),
        created_at=row.created_at,
        spread=row.spread,
        policy=VisitPolicy(**json.loads(row.policy)),
    )
    return with_mutable_columns(site, [getattr(row, column) for column in MUTABLE_COLUMNS])


def _policy_change_of(row: Row) -> PolicyChange:
    return PolicyChange(row.from_day, row.campaign_splits, row.split_at_local_midnight)
