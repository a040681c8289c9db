"""Read and write sites in the tables `sites` and `policy_changes` of directory.db."""

from __future__ import annotations

import json
from dataclasses import replace

from hitmesh.adapters.embedded.quotas import with_site_quota
from hitmesh.adapters.embedded.sqlite import Transaction
from hitmesh.adapters.shared.directory_rules import is_same_change, may_replace
from hitmesh.adapters.shared.site_values import (
    MUTABLE_COLUMNS,
    SITE_COLUMNS,
    mutable_columns,
    site_values,
    with_mutable_columns,
)
from hitmesh.model.names import merchant_of
from hitmesh.model.sites import PolicyChange, Site, VisitPolicy


def stored_site(transaction: Transaction, name: str) -> Site | None:
    """Return the site with this name, even if the site is deleted."""
    site = transaction.first(_site, f"SELECT {SITE_COLUMNS} FROM sites WHERE name = ?", (name,))
    return None if site is None else _with_changes(transaction, site)


def stored_sites(
    transaction: Transaction, merchant: str | None, after: str, limit: int, *, with_deleted: bool
) -> list[Site]:
    """Return the sites whose names follow `after`, ordered by name; `merchant` None means all merchants."""
    found = transaction.rows(
        _site,
        f"""SELECT {SITE_COLUMNS} FROM sites WHERE (?1 IS NULL OR merchant = ?1) AND name > ?2
        AND (?4 OR deleted_at IS NULL) ORDER BY name LIMIT ?3""",
        (merchant, after, limit, with_deleted),
    )
    return [_with_changes(transaction, site) for site in found]


def insert_site(transaction: Transaction, site: Site) -> None:
    """Store a new site."""
    values = (*site_values(site), merchant_of(site.name))
    transaction.run(f"INSERT INTO sites ({SITE_COLUMNS}, merchant) VALUES ({', '.join('?' * len(values))})", values)


def replace_site(transaction: Transaction, stored: Site, changed: Site) -> bool:
    """Replace the mutable values of a site that is still as `stored`; return whether the site is as `changed`."""
    there = stored_site(transaction, stored.name)
    if not may_replace(there, stored):
        return is_same_change(there, changed)
    assignments = ", ".join(f"{column} = ?" for column in MUTABLE_COLUMNS)
    transaction.run(f"UPDATE sites SET {assignments} WHERE name = ?", (*mutable_columns(changed), stored.name))
    return True


def _with_changes(transaction: Transaction, site: Site) -> Site:
    changes = transaction.rows(
        _policy_change,
        """SELECT from_day, campaign_splits, split_at_local_midnight FROM policy_changes WHERE site = ?
        ORDER BY from_day""",
        (site.name,),
    )
    return with_site_quota(transaction, replace(site, policy_changes=tuple(changes)) if changes else site)


def _policy_change(from_day: int, campaign_splits: int, split_at_local_midnight: int) -> PolicyChange:
    return PolicyChange(from_day, bool(campaign_splits), bool(split_at_local_midnight))


def _site(
    name: str,
    time_zone: str,
    currency: str,
    secret: bytes,
    created_at: int,
    spread: int,
    policy: str,
    *mutable: str | int | None,
) -> Site:
    site = Site(
        name=name,
        time_zone=time_zone,
        currency=currency,
        secret=secret,
        created_at=created_at,
        spread=spread,
        policy=VisitPolicy(**json.loads(policy)),
    )
    return with_mutable_columns(site, mutable)
