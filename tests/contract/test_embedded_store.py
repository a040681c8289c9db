"""Test the guarantees that only the embedded store gives: use by several processes, bounded size, checked files."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pytest

from hitmesh.adapters.embedded.raw_schema import RAW_SCHEMA
from hitmesh.adapters.embedded.schema import LOG_SCHEMA, SETTLED_SCHEMA
from hitmesh.adapters.embedded.sqlite import Database
from hitmesh.adapters.factory import Stores, open_stores
from hitmesh.model.errors import CommitInDoubt, RefusedError, StoreCorrupt, Unavailable
from hitmesh.model.generations import DirtyMark, LedgerEntry
from hitmesh.model.plan import Kind
from hitmesh.model.positions import Position, Topic
from hitmesh.model.records import RawRecord, Record, RecordKind
from hitmesh.model.reprocessings import GenerationVersion, Rebuilt, Reprocessing
from hitmesh.model.sites import IngestKey, KeyKind, Site, SiteDay
from hitmesh.runtime.clock import SystemClock
from tests.contract.doomed_writer import NOON, SHOP, value_of
from tests.support.clock import ManualClock

REPOSITORY = Path(__file__).parents[2]


def opened(home: Path, clock: ManualClock | None = None) -> Stores:
    return open_stores(f"embedded:{home}", clock or ManualClock(NOON))


class TestProcesses:
    @pytest.mark.timeout(60)
    def test_reader_sees_whole_records_while_another_process_writes(self, tmp_path: Path) -> None:
        writer = subprocess.Popen(
            [sys.executable, "-m", "tests.contract.doomed_writer", str(tmp_path)],
            cwd=REPOSITORY,
            stdout=subprocess.DEVNULL,
        )
        stores = opened(tmp_path)
        reader = stores.log_reader(Topic.HITS, "g")
        offsets: dict[int, list[int]] = {number: [] for number in range(4)}
        try:
            while len(offsets[3]) < 60:
                for logged in reader.poll(50, 1.0):
                    offsets[logged.position.partition].append(logged.position.offset)
                    assert logged.record.value.startswith(b"value ")
                mine = Position("mine", 0, len(offsets[0]))
                days = frozenset({SiteDay("merchants/m/sites/mine", 1)})
                stores.raw.put([RawRecord(mine, 1, 1, 1, 2, b"v", 1, days)])
                theirs = stores.raw.scan(SHOP, 0, 10_000)
                assert all(record.value == value_of(record.position.offset) for record in theirs)
        finally:
            writer.kill()
            writer.wait()
        assert all(seen == list(range(len(seen))) for seen in offsets.values())
        stores.close()

    def test_store_is_made_once_by_many_at_the_same_time(self, tmp_path: Path) -> None:
        with ThreadPoolExecutor(8) as pool:
            all_stores = list(pool.map(lambda _: opened(tmp_path), range(8)))
            logs = set(pool.map(lambda stores: stores.log.log_id(Topic.HITS), all_stores))
        assert len(logs) == 1
        for stores in all_stores:
            stores.close()

    def test_partitions_are_those_of_the_first_who_opened(self, tmp_path: Path) -> None:
        for count in (2, 8):
            stores = open_stores(
                f"embedded:{tmp_path}", SystemClock(), partitions={Topic.HITS: count, Topic.REJECTED: 1}
            )
            assert stores.log.partitions(Topic.HITS) == 2
            stores.close()


class TestTrim:
    def test_only_old_records_that_all_groups_committed_go(self, tmp_path: Path) -> None:
        clock = ManualClock(NOON)
        stores = opened(tmp_path, clock)
        for _ in range(4):
            stores.log.append(Topic.HITS, 0, Record(RecordKind.HITS, b"v", 1, 1, 2, NOON)).result(5)
            clock.advance(1_000)
        fast, slow = stores.log_reader(Topic.HITS, "fast"), stores.log_reader(Topic.HITS, "slow")
        assert stores.trim(NOON + 10**6) == 0
        fast.poll(100, 1.0)
        fast.commit(fast.positions())
        slow.poll(1, 1.0)
        slow.poll(1, 1.0)
        slow.commit(slow.positions())
        assert stores.trim(NOON + 1_000) == 1
        assert stores.trim(NOON + 10**6) == 1
        assert len(slow.poll(100, 1.0)) == 2
        late = stores.log.append(Topic.HITS, 0, Record(RecordKind.HITS, b"v", 1, 1, 2, NOON)).result(5)
        assert late.position.offset == 4
        stores.close()

    def test_offsets_go_on_after_everything_was_trimmed(self, tmp_path: Path) -> None:
        stores = opened(tmp_path)
        stores.log.append(Topic.HITS, 0, Record(RecordKind.HITS, b"v", 1, 1, 2, NOON)).result(5)
        reader = stores.log_reader(Topic.HITS, "g")
        reader.poll(100, 1.0)
        reader.commit(reader.positions())
        assert stores.trim(NOON + 1) == 1
        logged = stores.log.append(Topic.HITS, 0, Record(RecordKind.HITS, b"v", 1, 1, 2, NOON)).result(5)
        assert logged.position.offset == 1
        stores.close()


class TestFiles:
    def test_files_are_created_only_when_first_used(self, tmp_path: Path) -> None:
        stores = opened(tmp_path / "home")
        assert not (tmp_path / "home").exists()
        stores.directory.create_site(Site(SHOP, "UTC", "USD", b"0123456789abcdef"))
        assert {path.name.split("-")[0] for path in (tmp_path / "home").iterdir()} == {"directory.db"}
        assert (tmp_path / "home").stat().st_mode & 0o077 == 0
        stores.close()

    @pytest.mark.parametrize("url", ["", "memory", "embedded:", "embedded:relative", "/tmp", "kafka://x"])
    def test_url_that_is_no_store_is_refused(self, url: str) -> None:
        with pytest.raises(RefusedError, match="write memory:, embedded:"):
            open_stores(url, SystemClock())

    @pytest.mark.parametrize("name", ["log", "raw", "settled", "state", "directory"])
    @pytest.mark.parametrize("harm", ["newer", "damaged"])
    def test_every_file_is_checked_before_a_service_is_ready(self, tmp_path: Path, name: str, harm: str) -> None:
        file = tmp_path / f"{name}.db"
        good, again = opened(tmp_path), opened(tmp_path)
        good.check()
        good.close()
        if harm == "newer":
            connection = sqlite3.connect(file)
            connection.execute("UPDATE schema_version SET version = version + 1")
            connection.commit()
            connection.close()
        else:
            file.write_bytes(b"not a database" * 1_000)
        with pytest.raises(StoreCorrupt, match=f"{name}.db"):
            again.check()
        again.close()

    def test_file_of_a_newer_program_is_refused(self, tmp_path: Path) -> None:
        opened(tmp_path).log.log_id(Topic.HITS)
        newer = Database(tmp_path / "log.db", (*LOG_SCHEMA, ("CREATE TABLE added (a)",)))
        with newer.reading() as transaction:
            assert transaction.rows(str, "SELECT a FROM added") == []
        newer.close()
        with pytest.raises(StoreCorrupt, match=rf"schema version {len(LOG_SCHEMA) + 1}"):
            opened(tmp_path).log.log_id(Topic.HITS)

    def test_migration_that_fails_changes_nothing(self, tmp_path: Path) -> None:
        broken = Database(tmp_path / "x.db", (("CREATE TABLE one (a)", "CREATE TABLE one (a)"),))
        with pytest.raises(Unavailable, match=r"x\.db"), broken.reading():
            pass
        broken.close()
        with Database(tmp_path / "x.db", (("CREATE TABLE one (a)",),)).reading() as transaction:
            assert transaction.rows(int, "SELECT a FROM one") == []

    def test_damaged_file_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "log.db").write_bytes(b"not a database" * 100)
        with pytest.raises(StoreCorrupt, match=r"log\.db"):
            opened(tmp_path).log.log_id(Topic.HITS)

    def test_failed_transaction_leaves_nothing(self, tmp_path: Path) -> None:
        database = Database(tmp_path / "x.db", (("CREATE TABLE one (a UNIQUE)",),))
        with pytest.raises(sqlite3.IntegrityError), database.writing() as transaction:
            transaction.run_many("INSERT INTO one VALUES (?)", [(1,), (1,)])
        with database.writing() as transaction:
            assert transaction.first(int, "SELECT count(*) FROM one") == 0
        database.close()
        with pytest.raises(Unavailable, match="closed"), database.reading():
            pass

    def test_commit_that_fails_is_in_doubt_where_that_matters(self, tmp_path: Path) -> None:
        database = Database(tmp_path / "x.db", (("CREATE TABLE one (a)",),))

        def write(sql: str, *, raise_in_doubt: bool) -> None:
            with database.writing(raise_in_doubt=raise_in_doubt) as transaction:
                transaction.run(sql)
                transaction.run("COMMIT")  # the COMMIT that follows fails, although the row is on disk

        with pytest.raises(CommitInDoubt, match=r"x\.db"):
            write("INSERT INTO one VALUES (1)", raise_in_doubt=True)
        with pytest.raises(Unavailable):
            write("DELETE FROM one WHERE a = 0", raise_in_doubt=False)
        with pytest.raises(Unavailable):
            write("INSERT INTO nowhere VALUES (1)", raise_in_doubt=True)
        with database.writing() as transaction:
            assert transaction.first(int, "SELECT count(*) FROM one") == 1
        database.close()

    def test_files_of_the_first_version_are_read_on(self, tmp_path: Path) -> None:
        for name, schema, statements in (
            (
                "log.db",
                LOG_SCHEMA[:1],
                (
                    "INSERT INTO logs VALUES ('hits', 'hits.1', 1)",
                    "INSERT INTO ends VALUES ('hits', 0, 1, 5)",
                    "INSERT INTO records VALUES ('hits', 0, 0, 5, 1, 1, 1, 2, 3, 1, 'c', 'l', x'00')",
                ),
            ),
            ("raw.db", RAW_SCHEMA[:1], ("INSERT INTO dirty_marks VALUES ('s', 1, 'hits.1', 0, 0, 5)",)),
        ):
            old = Database(tmp_path / name, schema)
            with old.writing() as transaction:
                for statement in statements:
                    transaction.run(statement)
            old.close()
        stores = opened(tmp_path)
        (logged,) = stores.log_reader(Topic.HITS, "g").poll(9, 1.0)
        assert logged.record == Record(RecordKind.HITS, b"\x00", 1, 1, 2, 3, 1, "c", "l")
        assert list(stores.dirty.marks("s")) == [DirtyMark(SiteDay("s", 1), Position("hits.1", 0, 0), 5)]
        assert stores.outbox.take_over() == 1
        stores.close()

    def test_generation_that_an_earlier_version_replaced_is_kept_and_restored(self, tmp_path: Path) -> None:
        old = Database(tmp_path / "settled.db", SETTLED_SCHEMA[:2])
        with old.writing() as transaction:
            transaction.run("INSERT INTO attempt_counters VALUES ('s', 1, 2)")
            for number in (1, 2):
                row = ("s", 1, number, number, 1, "[]", NOON, 1, 1, 0, 0, -1, 5, b"carry")
                transaction.run(f"INSERT INTO generations VALUES ({', '.join('?' * 14)})", row)
            transaction.run("INSERT INTO superseded VALUES ('s', 1, 1, ?)", (NOON,))
        old.close()
        stores, day = opened(tmp_path), SiteDay("s", 1)
        assert list(stores.reprocessings.all()) == []
        version = GenerationVersion(1, 1, {}, LedgerEntry(1, 1, 0, 0, 2**64 - 1, 5), b"carry")
        entry = stores.generations.restore(day, version, seen_sequence=2, now=NOON, keep_until=NOON + 1)
        assert dict(stores.generations.current("s", 1, 2)) == {1: entry}
        assert list(stores.generations.superseded(NOON + 2)) == [(day, 2)]
        stores.close()

    def test_damaged_values_of_a_reprocessing_are_named(self, tmp_path: Path) -> None:
        stores = opened(tmp_path)
        stores.reprocessings.create(Reprocessing("r1", Kind.REPAIR, "v1", (SHOP,), 1, 2, NOON, NOON))
        version = GenerationVersion(1, 1, {}, LedgerEntry(1, 1, 0, 0, 2**64 - 1, 5), b"carry")
        stores.reprocessings.put("r1", [Rebuilt(SiteDay(SHOP, 1), version, version, 1, {}, {})])
        settled = Database(tmp_path / "settled.db", SETTLED_SCHEMA)
        with settled.writing() as transaction:
            for table in ("reprocessings", "rebuilt_site_days"):
                transaction.run(f"UPDATE {table} SET value = CAST(substr(value, 1, length(value) - 1) AS BLOB)")
        settled.close()
        for read in (stores.reprocessings.all, lambda: stores.reprocessings.get("r1")):
            with pytest.raises(StoreCorrupt, match=r"reprocessing r1 of \d+ bytes is damaged"):
                read()
        with pytest.raises(StoreCorrupt, match=f"the recomputed day 1 of {SHOP} in reprocessing r1 of"):
            stores.reprocessings.rebuilt("r1")
        stores.reprocessings.remove("r1")
        assert list(stores.reprocessings.all()) == []
        stores.close()

    def test_secrets_of_keys_and_destroyed_salts_are_in_no_file(self, tmp_path: Path) -> None:
        stores = opened(tmp_path)
        first, later = date(2026, 3, 1), date(2026, 3, 4)
        stores.directory.create_key(IngestKey("k", "merchants/m", KeyKind.SERVER), "a-very-secret-secret")
        salt = stores.directory.salt(SHOP, first, first)
        assert any(salt in path.read_bytes() for path in tmp_path.glob("directory.db*"))
        stores.directory.salt(SHOP, later, later)
        for path in tmp_path.glob("directory.db*"):
            assert salt not in path.read_bytes()
            assert b"a-very-secret-secret" not in path.read_bytes()
        stores.close()
