"""Store quotas on Cassandra. A merchant's quotas, with those for sites and keys, are in one partition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.model.names import ingest_key_name, merchant_in
from hitmesh.model.quotas import NO_QUOTA, Quota
from hitmesh.model.sites import IngestKey, Site

_COLUMNS: Final = "name, hits_s, bytes_s, report_units_min"
_OF_NAME: Final = f"SELECT {_COLUMNS} FROM quotas WHERE merchant = ? AND name = ?"
_OF_MERCHANT: Final = f"SELECT {_COLUMNS} FROM quotas WHERE merchant = ?"
_PUT: Final = "INSERT INTO quotas (merchant, name, hits_s, bytes_s, report_units_min) VALUES (?, ?, ?, ?, ?)"
_DELETE: Final = "DELETE FROM quotas WHERE merchant = ? AND name = ?"


class Quotas:
    """Reads and writes quotas. Thread-safe."""

    def __init__(self, session: CassandraSession) -> None:
        self._session = session

    def of(self, name: str) -> Quota:
        """Return a merchant's, site's or key's stored quota."""
        rows = self._session.run(_OF_NAME, (merchant_in(name), name))
        return Quota(rows[0].hits_s, rows[0].bytes_s, rows[0].report_units_min) if rows else NO_QUOTA

    def put(self, name: str, quota: Quota) -> None:
        """Replace a merchant's, site's or key's quota durably."""
        self._session.run(_PUT, (merchant_in(name), name, quota.hits_s, quota.bytes_s, quota.report_units_min))

    def delete(self, name: str) -> None:
        """Delete a quota durably, if one is stored."""
        self._session.run(_DELETE, (merchant_in(name), name))

    def with_quotas(self, sites: Sequence[Site]) -> list[Site]:
        """Return sites with their stored quotas."""
        found = self._of_merchants({merchant_in(site.name) for site in sites}) if sites else {}
        return [replace(site, quota=found[site.name]) if site.name in found else site for site in sites]

    def with_key_quota(self, key: IngestKey) -> IngestKey:
        """Return a key with its stored quota."""
        quota = self.of(ingest_key_name(key.merchant, key.key_id))
        return key if quota == NO_QUOTA else replace(key, quota=quota)

    def with_key_quotas(self, keys: Sequence[IngestKey]) -> list[IngestKey]:
        """Return keys with their stored quotas."""
        found = self._of_merchants({key.merchant for key in keys}) if keys else {}
        names = [ingest_key_name(key.merchant, key.key_id) for key in keys]
        return [
            replace(key, quota=found[name]) if name in found else key for key, name in zip(keys, names, strict=True)
        ]

    def _of_merchants(self, merchants: set[str]) -> dict[str, Quota]:
        answers = self._session.run_each(_OF_MERCHANT, [(merchant,) for merchant in merchants])
        return {row.name: Quota(row.hits_s, row.bytes_s, row.report_units_min) for rows in answers for row in rows}
