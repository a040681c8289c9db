"""Test for how long the bytes of refused hits are kept, and how many bytes are kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hitmesh.adapters.cassandra.rejected import CassandraRejectedStore
from hitmesh.adapters.embedded.raw_schema import RAW_SCHEMA
from hitmesh.adapters.embedded.rejected import EmbeddedRejectedStore
from hitmesh.adapters.embedded.sqlite import Database
from hitmesh.adapters.factory import KEEP_REFUSED_DAYS, open_stores
from hitmesh.model.errors import StoreCorrupt
from hitmesh.model.positions import Position
from hitmesh.model.records import Origin, RejectedHit
from hitmesh.runtime.clock import SystemClock
from processor.settings import ProcessorSettings

SITE = "merchants/demo/sites/shop"
SERVERS = "servers:?kafka=127.0.0.1:1&cassandra=127.0.0.1:1&broker=http://127.0.0.1:1&coordinator=http://127.0.0.1:1"
STEP = next(
    n for n, migration in enumerate(RAW_SCHEMA) if any("ADD COLUMN packing" in statement for statement in migration)
)


def refusal(original: bytes, offset: int = 0) -> RejectedHit:
    return RejectedHit(Position("rejected.1", 0, offset), 0, SITE, 7, "DECODE", "", "broken", "", 1, original)


def stored_bytes(database: Database) -> int:
    with database.reading() as transaction:
        return transaction.rows(int, "SELECT sum(length(original)) FROM rejected")[0]


@pytest.mark.parametrize("original", [b"", b"\x00", b"https://shop.example/" * 195, bytes(range(256)) * 16])
def test_bytes_come_back_and_are_never_stored_as_more(tmp_path: Path, original: bytes) -> None:
    database = Database(tmp_path / "raw.db", RAW_SCHEMA)
    store = EmbeddedRejectedStore(database)
    store.put([refusal(original)])
    assert [hit.original for hit in store.recent(SITE, 2)] == [original]
    assert stored_bytes(database) <= len(original)
    database.close()


def test_four_kib_of_what_clients_send_become_a_tenth(tmp_path: Path) -> None:
    database = Database(tmp_path / "raw.db", RAW_SCHEMA)
    EmbeddedRejectedStore(database).put([refusal(b'{"type": "HIT_TYPE_PAGE_VIEW", "url": "/"}' * 97)])
    assert stored_bytes(database) < 400
    database.close()


def test_refusals_of_an_older_file_are_read_beside_new_ones(tmp_path: Path) -> None:
    old = Database(tmp_path / "raw.db", RAW_SCHEMA[:STEP])
    with old.writing() as transaction:
        values = ("rejected.1", 0, 0, 0, SITE, 7, "DECODE", "", "broken", "", 1, b"sent before" * 9)
        transaction.run(f"INSERT INTO rejected VALUES ({', '.join('?' * 12)})", values)
    old.close()
    database = Database(tmp_path / "raw.db", RAW_SCHEMA)
    store = EmbeddedRejectedStore(database)
    store.put([refusal(b"sent after" * 9, offset=1)])
    assert [hit.original for hit in store.recent(SITE, 3)] == [b"sent after" * 9, b"sent before" * 9]
    assert store.drop_bytes(8) == 2
    assert [hit.original for hit in store.recent(SITE, 3)] == [b"", b""]
    database.close()


def test_damaged_bytes_are_not_shown(tmp_path: Path) -> None:
    database = Database(tmp_path / "raw.db", RAW_SCHEMA)
    store = EmbeddedRejectedStore(database)
    store.put([refusal(b"a" * 1_000)])
    with database.writing() as transaction:
        transaction.run("UPDATE rejected SET original = x'0011'", ())
    with pytest.raises(StoreCorrupt, match=r"raw\.db"):
        store.recent(SITE, 1)
    database.close()


@pytest.mark.parametrize("days", [1, KEEP_REFUSED_DAYS])
def test_servers_keep_bytes_for_the_configured_days(days: int) -> None:
    stores = open_stores(SERVERS, SystemClock(), keep_refused_days=days)
    assert isinstance(stores.rejected, CassandraRejectedStore)
    assert stores.rejected.keep_bytes_days == days


def test_the_default_of_the_processor_is_that_of_the_stores() -> None:
    assert ProcessorSettings(store="memory:").keep_refused_days == KEEP_REFUSED_DAYS


def test_origin_is_dropped_with_the_bytes(tmp_path: Path) -> None:
    origin = Origin("b", 0, "k", 5, True, False, b"", 7, 0, True)
    hit = replace(refusal(b"bytes"), origin=origin)
    for url in ("memory:", f"embedded:{tmp_path}"):
        stores = open_stores(url, SystemClock())
        stores.rejected.put([hit])
        assert stores.rejected.drop_bytes(8) == 1
        assert list(stores.rejected.recent(SITE, 1)) == [refusal(b"")]
        stores.close()
