"""Read and write quotas in the table `quotas` of directory.db, by full name of a merchant, site or key."""

from __future__ import annotations

from dataclasses import replace

from hitmesh.adapters.embedded.sqlite import Transaction
from hitmesh.adapters.shared.quota_values import QUOTA_COLUMNS, quota_of, quota_values
from hitmesh.model.names import ingest_key_name
from hitmesh.model.quotas import NO_QUOTA, Quota
from hitmesh.model.sites import IngestKey, Site


def quota_in(transaction: Transaction, name: str) -> Quota:
    """Return the stored quota; NO_QUOTA if none is stored."""
    found = transaction.first(quota_of, f"SELECT {QUOTA_COLUMNS} FROM quotas WHERE name = ?", (name,))
    return found or NO_QUOTA


def store_quota(transaction: Transaction, name: str, quota: Quota, expected: int | None) -> bool:
    """Replace a quota, and return whether its version was `expected`; None = any version."""
    version = quota_in(transaction, name).version
    if expected not in (None, version):
        return False
    transaction.run(
        f"INSERT OR REPLACE INTO quotas (name, {QUOTA_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (name, *quota_values(replace(quota, version=version + 1))),
    )
    return True


def delete_quota(transaction: Transaction, name: str) -> None:
    """Delete a quota, if one is stored."""
    transaction.run("DELETE FROM quotas WHERE name = ?", (name,))


def with_site_quota(transaction: Transaction, site: Site) -> Site:
    """Return the site with its stored quota."""
    quota = quota_in(transaction, site.name)
    return site if quota == NO_QUOTA else replace(site, quota=quota)


def with_key_quota(transaction: Transaction, key: IngestKey) -> IngestKey:
    """Return the key with its stored quota."""
    quota = quota_in(transaction, ingest_key_name(key.merchant, key.key_id))
    return key if quota == NO_QUOTA else replace(key, quota=quota)
