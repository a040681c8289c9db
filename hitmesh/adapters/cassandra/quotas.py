"""Store quotas on Cassandra. A merchant's quotas, with those for sites and keys, are in one partition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.adapters.shared.quota_values import QUOTA_COLUMNS, quota_of, quota_values
from hitmesh.model.names import ingest_key_name, merchant_in
from hitmesh.model.quotas import NO_QUOTA, Quota
from hitmesh.model.sites import IngestKey, Site

_OF_NAME: Final = f"SELECT {QUOTA_COLUMNS} FROM quotas WHERE merchant = ? AND name = ?"
_OF_MERCHANT: Final = f"SELECT {QUOTA_COLUMNS}, name FROM quotas WHERE merchant = ?"
# Rows of earlier versions, and rows that do not exist, have no version.
_PUT: Final = f"""UPDATE quotas SET {QUOTA_COLUMNS.replace(",", " = ?,")} = ? WHERE merchant = ? AND name = ?
    IF version = """
_DELETE: Final = "DELETE FROM quotas WHERE merchant = ? AND name = ? IF EXISTS"


class Quotas:
    """Reads and writes quotas. Thread-safe."""

    def __init__(self, session: CassandraSession) -> None:
        self._session = session

    def of(self, name: str) -> Quota:
        """Return a merchant's, site's or key's stored quota."""
        rows = self._session.run(_OF_NAME, (merchant_in(name), name), serial=True)
        return quota_of(*rows[0]) if rows else NO_QUOTA

    def put(self, name: str, quota: Quota, expected: int | None) -> bool:
        """Replace a quota durably, and return whether its version was `expected`; None = any version."""
        while True:
            version = self.of(name).version if expected is None else expected
            values = (*quota_values(replace(quota, version=version + 1)), merchant_in(name), name)
            condition, expected_values = ("?", (version,)) if version else ("null", ())
            if self._session.apply(_PUT + condition, (*values, *expected_values)):
                return True
            if expected is not None:
                return False

    def delete(self, name: str) -> None:
        """Delete a quota durably, if one is stored."""
        self._session.apply(_DELETE, (merchant_in(name), name))

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
        return {row.name: quota_of(*row[:-1]) for rows in answers for row in rows}
