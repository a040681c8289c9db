"""Test the migration that creates the merchants of sites and keys that earlier versions stored in Cassandra."""

from __future__ import annotations

from dataclasses import replace

from hitmesh.adapters.cassandra.directory import CassandraSiteDirectory
from hitmesh.adapters.cassandra.merchants import CassandraMerchants, adopt_merchants
from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.model.merchants import Merchant
from hitmesh.model.names import OPERATORS
from hitmesh.model.sites import IngestKey, KeyKind, Site
from tests.support.clock import ManualClock


def test_merchants_of_sites_and_keys_are_adopted_once_and_changes_stay(session: CassandraSession) -> None:
    for table in ("merchants", "sites_of_merchant", "ingest_keys"):
        session.change_schema(f"TRUNCATE {table}")
    directory, merchants = CassandraSiteDirectory(session, ManualClock(0)), CassandraMerchants(session)
    for number in range(3):
        directory.create_site(Site(f"merchants/adopted-a/sites/{number}", "UTC", "USD", b"secret of a test"))
    for owner in ("merchants/adopted-b", OPERATORS):
        directory.create_key(IngestKey("k", owner, KeyKind.SERVER), f"secret of {owner}")
    adopt_merchants(session, 7)
    adopted = [Merchant(f"merchants/adopted-{letter}", "", 7, 7) for letter in "ab"]
    assert list(merchants.merchants("", 9)) == adopted
    changed = replace(adopted[0], display_name="A", updated_at=9, revision=1)
    deleted = replace(adopted[1], revision=1, deleted_at=9)
    assert merchants.change_merchant(adopted[0], changed)
    assert merchants.change_merchant(adopted[1], deleted)
    adopt_merchants(session, 8)
    assert list(merchants.merchants("", 9)) == [changed]
    assert merchants.merchant(adopted[1].name) == deleted
