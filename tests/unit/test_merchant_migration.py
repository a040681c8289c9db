"""Test that merchants of earlier versions, which were only part of the names of sites and keys, get a record."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hitmesh.adapters.cassandra.merchants import adopt_merchants
from hitmesh.adapters.embedded.directory import EmbeddedSiteDirectory
from hitmesh.adapters.embedded.merchants import EmbeddedMerchants
from hitmesh.adapters.embedded.schema import DIRECTORY_SCHEMA
from hitmesh.adapters.embedded.sqlite import Database
from hitmesh.model.merchants import Merchant
from hitmesh.model.sites import Site
from tests.support.clock import ManualClock
from tests.support.opened import NOON

BEFORE = next(at for at, migration in enumerate(DIRECTORY_SCHEMA) if "CREATE TABLE merchants" in migration[0])
SITE = """INSERT INTO sites (name, merchant, time_zone, currency, secret, created_at, spread, policy,
    cookieless_counting, consent_by_default, identify_by_user_id)
    VALUES (?, ?, 'UTC', 'USD', x'01', ?, 1, '{}', 0, 1, 0)"""
KEY = """INSERT INTO ingest_keys (merchant, key_id, kind, unbounded_history, created_at, secret_digest)
    VALUES (?, 'k', 'server', 0, ?, ?)"""


def test_merchants_of_sites_and_keys_get_a_record_with_their_first_time(tmp_path: Path) -> None:
    file = tmp_path / "directory.db"
    before = Database(file, DIRECTORY_SCHEMA[:BEFORE])
    with before.writing() as transaction:
        for number, created_at in enumerate((9, 7, 8)):
            transaction.run(SITE, (f"merchants/m/sites/{number}", "merchants/m", created_at))
        for number, (merchant, created_at) in enumerate(
            (("merchants/m", 8), ("merchants/keys-only", 5), ("operators", 1), ("bootstrap", 1))
        ):
            transaction.run(KEY, (merchant, created_at, bytes([number])))
    before.close()
    after = Database(file, DIRECTORY_SCHEMA)
    assert EmbeddedMerchants(after).merchants("", 9) == [
        Merchant("merchants/keys-only", "", 5, 5),
        Merchant("merchants/m", "", 7, 7),
    ]
    old = Site("merchants/m/sites/1", "UTC", "USD", b"\x01", 7)
    assert EmbeddedSiteDirectory(after, ManualClock(NOON)).site(old.name) == old
    after.close()


class ScriptedSession:
    """Answers the reads of the migration on Cassandra, and notes its writes."""

    def __init__(self, answers: Sequence[Sequence[str]]) -> None:
        self._answers = iter(answers)
        self.written: list[Sequence[object]] = []

    def stream(self, cql: str) -> Iterator[SimpleNamespace]:
        assert "SELECT DISTINCT merchant" in cql
        yield from (SimpleNamespace(merchant=merchant) for merchant in next(self._answers))

    def run_many(self, cql: str, rows: Any) -> None:
        assert "USING TIMESTAMP ?" in cql
        self.written += rows


def test_migration_on_cassandra_reads_merchants_and_no_sites() -> None:
    session = ScriptedSession([["merchants/a", "merchants/b"], ["merchants/b", "operators", "bootstrap"]])
    adopt_merchants(session, 7)  # type: ignore[arg-type]  # the two methods that the migration calls
    assert [row[1:4] for row in session.written] == [
        ("merchants/a", 7, 7),
        ("merchants/b", 7, 7),
        ("merchants/b", 7, 7),
    ]
