"""Read and write quotas in the table `quotas` of directory.db, by full name of a merchant, site or key."""

from __future__ import annotations

from dataclasses import replace

from hitmesh.adapters.embedded.sqlite import Transaction
from hitmesh.model.names import ingest_key_name
from hitmesh.model.quotas import NO_QUOTA, Quota
from hitmesh.model.sites import IngestKey, Site


def quota_in(transaction: Transaction, name: str) -> Quota:
    """Return the stored quota; NO_QUOTA if none is stored."""
    found = transaction.first(Quota, "SELECT hits_s, bytes_s, report_units_min FROM quotas WHERE name = ?", (name,))
    return found or NO_QUOTA


def store_quota(transaction: Transaction, name: str, quota: Quota) -> None:
    """Replace a quota."""
    transaction.run(
        "INSERT OR REPLACE INTO quotas VALUES (?, ?, ?, ?)",
        (name, quota.hits_s, quota.bytes_s, quota.report_units_min),
    )


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
