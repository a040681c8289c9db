"""The benchmark's store with many sites is like a store that the ports filled."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from hitmesh.adapters.factory import open_stores
from hitmesh.model.positions import PartitionProgress
from hitmesh.model.sites import SiteDay
from hitmesh.runtime.clock import SystemClock
from tests.bench.many_sites import ManySites, create_by_ports, create_in_bulk, fill_days, site_name
from tests.bench.traffic import DAY

SIZE = ManySites(sites=10, dirty=5, hits=3, sites_of_merchant=3, record_hits=4)


def rows_of(home: Path) -> dict[str, list[tuple[object, ...]]]:
    with sqlite3.connect(home / "directory.db") as connection:
        return {
            table: sorted(connection.execute(f"SELECT * FROM {table}"))  # a constant
            for table in ("sites", "ingest_keys")
        }


def test_bulk_writes_the_rows_that_the_ports_write(tmp_path: Path) -> None:
    stores = open_stores(f"embedded:{tmp_path / 'ports'}", SystemClock())
    create_by_ports(stores.directory, SIZE)
    stores.close()
    create_in_bulk(f"embedded:{tmp_path / 'bulk'}", SIZE)
    found = rows_of(tmp_path / "bulk")
    assert found == rows_of(tmp_path / "ports")
    assert [len(rows) for rows in found.values()] == [10, 4]


def test_filled_days_have_their_hits_marks_and_awaited_days(tmp_path: Path) -> None:
    stores = open_stores(f"embedded:{tmp_path}", SystemClock())
    reached = fill_days(stores, SystemClock(), SIZE, DAY + 100)
    assert {type(at) for at in reached.values()} == {PartitionProgress}
    names = [site_name(2 * number, SIZE.sites_of_merchant) for number in range(SIZE.dirty)]
    assert [entry.site_day for entry in stores.dirty.take(99, DAY + 1)] == [SiteDay(name, DAY) for name in names]
    assert [len(stores.dirty.awaited(site_name(number, 3))) for number in range(SIZE.sites)] == [1] * SIZE.sites
    records = list(stores.raw.scan_sites(names, DAY, DAY + 1))
    assert sum(record.rows for record in records) == SIZE.dirty * SIZE.hits
    assert stores.ledger.read(names[0]).height == 2
    stores.close()
