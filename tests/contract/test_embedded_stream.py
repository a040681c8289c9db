"""Test the embedded store's stream data: few pieces, removal of hidden rows, and answers independent of merges."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from hitmesh.adapters.embedded.compaction import FAN, MAX_BATCHES, Compaction
from hitmesh.adapters.embedded.ledger import FINAL_AFTER_MS
from hitmesh.adapters.embedded.raw_schema import RAW_SCHEMA
from hitmesh.adapters.embedded.schema import STATE_SCHEMA
from hitmesh.adapters.embedded.sqlite import Database
from hitmesh.adapters.embedded.stream_rows import StreamRows, add_chunks, chunked, unpacked
from hitmesh.adapters.factory import Stores
from hitmesh.adapters.shared.kept_frames import KeptFrames
from hitmesh.model.errors import StoreCorrupt
from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.rows.stream_columns import EPOCH_MS, MOVED_VISITORS, PARTIAL_SUMS
from hitmesh.model.sites import SiteDay
from tests.contract.doomed_writer import NOON
from tests.contract.test_embedded_store import opened
from tests.support.stored_rows import DAY, OTHER, SHOP, START, a_row, a_sketch, ask
from tests.support.stream_builders import (
    LIVE,
    TODAY,
    a_manifest,
    a_partial,
    a_partition,
    an_entry,
    commit,
    entries,
    live,
    partials,
    save,
    settled,
    signed,
)


def counted(home: Path, sql: str) -> int:
    database = Database(home / "raw.db", RAW_SCHEMA)
    with database.reading() as transaction:
        count = transaction.first(int, sql)
    database.close()
    return count or 0


def stored_rows(home: Path, source: RowSource = RowSource.TRAFFIC) -> pl.DataFrame:
    """Return all rows in chunks and blobs, also rows that are hidden from readers."""
    database = Database(home / "raw.db", RAW_SCHEMA)
    with database.reading() as transaction:
        values = [
            value
            for table in ("stream_chunks", "stream_blobs")
            for value in transaction.rows(bytes, f"SELECT value FROM {table} WHERE source = ?", (source,))
        ]
    database.close()
    return pl.concat([signed(source), *(unpacked(value, source) for value in values)])


def commit_many(stores: Stores, writer: int, times: int, *sites: str, day: int = DAY) -> None:
    for n in range(times):
        commit(stores, writer, *[a_row(site=site, day=day, cell=96 * (day - DAY) + n % 5, hits=1) for site in sites])


class TestCompaction:
    def test_few_pieces_wait_however_many_transactions_came(self, tmp_path: Path) -> None:
        stores = opened(tmp_path)
        writer = stores.outbox.take_over()
        for _ in range(FAN + 1):
            commit_many(stores, writer, MAX_BATCHES, SHOP)
            assert counted(tmp_path, "SELECT count(*) FROM stream_chunks") < MAX_BATCHES
            assert counted(tmp_path, "SELECT count(*) FROM stream_blobs") <= FAN
        assert counted(tmp_path, "SELECT max(level) FROM stream_blobs") == 2
        assert live(stores)["hits"].to_list() == [(FAN + 1) * MAX_BATCHES]
        assert len(stored_rows(tmp_path)) <= 5 * 3
        stores.close()

    def test_rows_that_sum_to_zero_are_dropped_when_merged(self, tmp_path: Path) -> None:
        stores = opened(tmp_path)
        writer = stores.outbox.take_over()
        commit(stores, writer, a_row(page_path="/moved", hits=1, visitors=a_sketch(1)), a_row(page_path="/a", hits=1))
        commit_many(stores, writer, MAX_BATCHES, SHOP)
        commit(stores, writer, a_row(page_path="/moved", hits=-1, moved_visitors=1))
        commit_many(stores, writer, FAN * MAX_BATCHES, SHOP)
        assert set(stored_rows(tmp_path)["page_path"]) == {"/a", None}
        stores.close()

    def test_sketch_of_a_row_whose_older_part_lies_elsewhere_stays(self, tmp_path: Path) -> None:
        stores = opened(tmp_path)
        writer = stores.outbox.take_over()
        commit(stores, writer, a_row(page_path="/a", hits=1, visitors=a_sketch(1)))
        commit_many(stores, writer, MAX_BATCHES, SHOP)
        commit(stores, writer, a_row(page_path="/a", hits=1, visitors=a_sketch(2)))
        commit(stores, writer, a_row(page_path="/a", hits=-1, moved_visitors=1))
        commit_many(stores, writer, MAX_BATCHES, SHOP)
        answer = live(stores, "page_path", measures=("hits", MOVED_VISITORS), sketches=("visitors",))
        (row,) = [row for row in answer.rows() if row[1] == "/a"]
        assert row[2:4] == (1, 1)
        assert row[4] == a_sketch(1, 2)
        stores.close()

    def test_dropped_rows_leave_the_disk_and_are_forgotten(self, tmp_path: Path) -> None:
        stores = opened(tmp_path)
        writer = stores.outbox.take_over()
        sites = [f"{SHOP}{n}" for n in range(100)]
        commit_many(stores, writer, 3, OTHER, *sites)
        stores.sink.drop([(SiteDay(site, DAY), 0) for site in sites])
        assert len(ask(stores, generations={SiteDay(sites[0], DAY): 0})) == 0
        commit_many(stores, writer, FAN * MAX_BATCHES, OTHER)
        assert set(stored_rows(tmp_path)["site"]) == {OTHER}
        assert counted(tmp_path, "SELECT count(*) FROM stream_dropped") == 0
        assert ask(stores, generations={SiteDay(OTHER, DAY): 0})["hits"].to_list() == [3 + FAN * MAX_BATCHES]
        stores.close()

    def test_rows_dropped_while_they_wait_are_swept_without_new_ones(self, tmp_path: Path) -> None:
        stores = opened(tmp_path)
        writer = stores.outbox.take_over()
        commit_many(stores, writer, MAX_BATCHES, SHOP)
        stores.sink.drop([(TODAY, 0)])
        stores.outbox.transaction(writer, [], {a_partition(stores): PartitionProgress(99, NOON)})
        assert len(stored_rows(tmp_path)) == 0
        assert counted(tmp_path, "SELECT count(*) FROM stream_dropped") == 0
        stores.close()

    def test_days_that_no_longer_change_become_one_blob(self, tmp_path: Path) -> None:
        stores = opened(tmp_path)
        writer = stores.outbox.take_over()
        commit_many(stores, writer, 3 * MAX_BATCHES, SHOP)
        assert counted(tmp_path, f"SELECT count(*) FROM stream_blobs WHERE day = {DAY}") == 3
        commit_many(stores, writer, 2 * MAX_BATCHES, SHOP, day=DAY + 5)
        assert counted(tmp_path, f"SELECT count(*) FROM stream_blobs WHERE day = {DAY}") == 1
        assert live(stores)["hits"].to_list() == [3 * MAX_BATCHES]
        stores.close()

    def test_merge_that_fails_is_tried_again_and_fails_no_transaction(self, tmp_path: Path) -> None:
        stores = opened(tmp_path)
        writer = stores.outbox.take_over()
        commit(stores, writer, a_row(hits=1))
        database = Database(tmp_path / "raw.db", RAW_SCHEMA)
        with database.writing() as transaction:
            (good,) = transaction.rows(bytes, "SELECT value FROM stream_chunks")
            transaction.run("UPDATE stream_chunks SET value = x'00'")
        commit_many(stores, writer, MAX_BATCHES + 5, SHOP)
        assert stores.outbox.committed()[a_partition(stores)].next_offset == 1 + MAX_BATCHES + 5
        with pytest.raises(StoreCorrupt):
            live(stores)
        with database.writing() as transaction:
            transaction.run("UPDATE stream_chunks SET value = ? WHERE value = x'00'", (good,))
        commit(stores, writer, a_row(hits=1))
        assert counted(tmp_path, "SELECT count(*) FROM stream_chunks") == 0
        assert live(stores)["hits"].to_list() == [MAX_BATCHES + 7]
        database.close()
        stores.close()

    def test_concurrent_merges_lose_and_double_no_row(self, tmp_path: Path) -> None:
        stores, start = opened(tmp_path), threading.Barrier(3)
        stores.outbox.take_over()
        databases = [Database(tmp_path / "raw.db", RAW_SCHEMA) for _ in range(3)]
        for _ in range(FAN * MAX_BATCHES):
            with databases[0].writing() as transaction:
                add_chunks(transaction, chunked(signed(RowSource.TRAFFIC, a_row(hits=1)), RowSource.TRAFFIC))

        def merge(database: Database) -> None:
            start.wait()
            for _ in range(3):
                Compaction(database).run()

        threads = [threading.Thread(target=merge, args=(database,)) for database in databases]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert counted(tmp_path, "SELECT count(*) FROM stream_chunks") == 0
        assert live(stores)["hits"].to_list() == [FAN * MAX_BATCHES]
        for database in databases:
            database.close()
        stores.close()

    def test_reader_sees_every_row_once_while_rows_are_merged(self, tmp_path: Path) -> None:
        stores, reader = opened(tmp_path), opened(tmp_path)
        writer, total = stores.outbox.take_over(), 4 * MAX_BATCHES
        thread = threading.Thread(target=commit_many, args=(stores, writer, total, SHOP))
        thread.start()
        seen = 0
        while seen < total:
            now = int(live(reader)["hits"].sum())
            assert seen <= now <= total
            seen = now
        thread.join()
        stores.close()
        reader.close()


class TestKeptFrames:
    def test_bytes_are_bounded_and_the_last_used_stay(self) -> None:
        made: list[int] = []

        def frame(number: int) -> pl.DataFrame:
            made.append(number)
            return pl.DataFrame({"n": [number] * 1_000})

        kept = KeptFrames(20_000)
        for number in (1, 2, 1, 3, 1, 2):
            assert kept.of(number, lambda number=number: frame(number))["n"][0] == number  # type: ignore[misc]  # bound now
        assert made == [1, 2, 3, 2]
        huge = KeptFrames(1_000)
        for _ in range(2):
            huge.of(1, lambda: frame(9))
        assert made[-2:] == [9, 9]

    def test_rows_are_answered_with_nothing_kept(self, tmp_path: Path) -> None:
        stores = opened(tmp_path)
        commit_many(stores, stores.outbox.take_over(), 5, SHOP)
        database = Database(tmp_path / "raw.db", RAW_SCHEMA)
        assert StreamRows(database, max_cached_bytes=0).of(RowSource.TRAFFIC, LIVE)["hits"].sum() == 5
        database.close()
        stores.close()


class TestPartials:
    def test_sums_of_another_version_are_refused(self, tmp_path: Path) -> None:
        stores = opened(tmp_path)
        stores.series.put_partials(partials(a_partial(hits=1)))
        database = Database(tmp_path / "raw.db", RAW_SCHEMA)
        for damage in ("x'05' || substr(sums, 2)", "substr(sums, 1, 9)"):
            with database.writing() as transaction:
                transaction.run(f"UPDATE series_partials SET sums = CAST({damage} AS BLOB)")
            with pytest.raises(StoreCorrupt, match="partial"):
                stores.series.read(SHOP, DAY, DAY + 1, 0)
        database.close()
        stores.close()

    def test_partials_of_a_file_without_currencies_are_read_without_a_currency(self, tmp_path: Path) -> None:
        before = Database(tmp_path / "raw.db", RAW_SCHEMA[:2])
        sums = b"\x01" + np.arange(1, len(PARTIAL_SUMS) + 1, dtype="<i8").tobytes()
        with before.writing() as transaction:
            transaction.run(
                "INSERT INTO series_partials VALUES (?, ?, 0, ?, 0, 'hits.1', 0, ?, 1, ?, -1, NULL)",
                (SHOP, DAY, START, NOON, sums),
            )
        before.close()
        stores = opened(tmp_path)
        old = a_partial(digest=2**64 - 1, unkeyed_digests=1) | {name: n for n, name in enumerate(PARTIAL_SUMS, 1)}
        assert stores.series.read(SHOP, DAY, DAY + 1, 0).equals(settled(old))
        stores.series.put_partials(partials(a_partial(hits=5), a_partial(currency="EUR", hits=2)))
        assert stores.series.read(SHOP, DAY, DAY + 1, 0)["hits"].to_list() == [5, 2], "a redo replaces its epoch"
        stores.close()


class TestLedger:
    def test_a_sites_ledger_stays_short(self, tmp_path: Path) -> None:
        stores = opened(tmp_path)
        for n in range(4 * 96):
            stores.ledger.put(entries(an_entry(epoch=START + n * EPOCH_MS, hits=1)))
        assert stores.ledger.read(SHOP)["hits"].to_list() == [4 * 96]
        assert counted(tmp_path, "SELECT count(*) FROM ledger") < 3 + 24 + 24
        stores.close()

    def test_redo_of_what_was_added_up_changes_nothing(self, tmp_path: Path) -> None:
        stores = opened(tmp_path)
        first = an_entry(epoch=START, written=1, hits=5)
        stores.ledger.put(entries(first))
        stores.ledger.put(entries(an_entry(epoch=START + FINAL_AFTER_MS + 4 * EPOCH_MS, hits=1)))
        stores.ledger.put(entries(first, an_entry(epoch=START, partition=1, hits=10)))
        assert stores.ledger.read(SHOP)["hits"].to_list() == [16]
        stores.close()


class TestSnapshots:
    def test_chunks_that_no_manifest_names_do_not_stay(self, tmp_path: Path) -> None:
        stores = opened(tmp_path)
        other = PartitionId("hits.1", 1)
        save(stores, a_manifest(partition=other))
        save(stores, a_manifest(writer=2, next_offset=10))
        stores.states.save_chunks(PartitionId("hits.1", 0), 1, 99, [b"of a fenced writer"])
        stores.states.save_chunks(PartitionId("hits.1", 0), 2, 9, [b"older"])
        save(stores, a_manifest(writer=2, next_offset=11))
        database = Database(tmp_path / "state.db", STATE_SCHEMA)
        with database.reading() as transaction:
            assert transaction.first(int, "SELECT count(*) FROM snapshots") == 6
        database.close()
        stores.close()
