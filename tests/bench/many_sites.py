"""Fill a store with many sites, keys, dirty site-days, and site-days that wait until their day closes (awaited).

Records, dirty marks, awaited site-days, ledger entries and positions
are written through the product's interfaces (ports). Sites and keys are written directly to the tables, because the
directory port needs a durable write for each site. `bulk_is_like_ports` checks that the direct writes store the same
rows as the directory port.
"""

from __future__ import annotations

import hashlib
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from hitmesh.access.roles import MERCHANT_ROLES
from hitmesh.adapters.directories import open_directory
from hitmesh.adapters.embedded.schema import DIRECTORY_SCHEMA
from hitmesh.adapters.embedded.sqlite import Database
from hitmesh.adapters.factory import Stores
from hitmesh.adapters.shared.key_values import KEY_COLUMNS, key_values
from hitmesh.adapters.shared.site_values import SITE_COLUMNS, site_values
from hitmesh.adapters.urls import EMBEDDED, embedded_directory
from hitmesh.model.arrays import I64Array
from hitmesh.model.generations import DirtyMark
from hitmesh.model.keys import hash64
from hitmesh.model.ledger import LedgerClass, LedgerKind
from hitmesh.model.names import merchant_of
from hitmesh.model.positions import PartitionId, PartitionProgress, Position, Topic
from hitmesh.model.records import RawRecord
from hitmesh.model.rows.stream_columns import LEDGER_COLUMNS
from hitmesh.model.sites import IngestKey, KeyKind, Site, SiteDay
from hitmesh.model.zones import DAY_MS
from hitmesh.ports import Clock, SiteDirectory
from hitmesh.runtime.clock import SystemClock
from tests.bench.placeholders import places
from tests.bench.plain_records import a_record, page_views
from tests.bench.traffic import CURRENCY, DAY

_KEY: Final = "hms_bench-key-of-merchant-{:08d}-0000000000000000"
_AT_ONCE: Final = 50_000
_VISITORS: Final = 2  # of a site-day
_EPOCH: Final = 0


@dataclass(frozen=True, slots=True)
class ManySites:
    """Sizes for a store with many sites."""

    sites: int
    """Number of sites. Each site has a site-day that waits for its day to close."""
    dirty: int
    """Number of dirty site-days, all on DAY, each of a different site."""
    hits: int = 5
    """Number of hits on each dirty site-day, at random times."""
    sites_of_merchant: int = 4
    """Number of sites per merchant. Each merchant has a server key."""
    record_hits: int = 5_000
    """Number of hits in a record. The hits may belong to several sites."""


def site_name(number: int, sites_of_merchant: int = 4) -> str:
    """Return the name of the site with this number. Site names sort in the order of site numbers."""
    merchant, of_merchant = divmod(number, sites_of_merchant)
    return f"merchants/m{merchant:08d}/sites/s{of_merchant:02d}"


def the_site(name: str) -> Site:
    """Return the site with this name. The secret of the site is derived from its name."""
    return Site(name=name, time_zone="UTC", currency=CURRENCY, secret=hashlib.sha256(name.encode()).digest())


def key_of_merchant(number: int) -> tuple[IngestKey, str]:
    """Return the server key of the merchant with this number, with the key's secret."""
    key = IngestKey(
        key_id="server",
        merchant=f"merchants/m{number:08d}",
        kind=KeyKind.SERVER,
        unbounded_history=True,
        roles=MERCHANT_ROLES,
    )
    return key, _KEY.format(number)


def sites_of(size: ManySites) -> Iterator[Site]:
    """Yield the sites in the order of their names."""
    return (the_site(site_name(number, size.sites_of_merchant)) for number in range(size.sites))


def keys_of(size: ManySites) -> Iterator[tuple[IngestKey, str]]:
    """Yield the keys with their secrets, in the order of merchants."""
    return (key_of_merchant(number) for number in range(-(-size.sites // size.sites_of_merchant)))


def create_by_ports(directory: SiteDirectory, size: ManySites) -> None:
    """Create sites and keys one by one through the directory port."""
    for site in sites_of(size):
        directory.create_site(site)
    for key, secret in keys_of(size):
        directory.create_key(key, secret)


def create_in_bulk(url: str, size: ManySites) -> None:
    """Write the rows that `create_by_ports` writes, in large transactions or batches."""
    if url.startswith(EMBEDDED):
        _bulk_in_files(embedded_directory(url), size)
    else:
        from tests.bench.many_sites_on_servers import bulk_on_cassandra

        bulk_on_cassandra(url, sites_of(size), keys_of(size))


def _bulk_in_files(directory: Path, size: ManySites) -> None:
    file = Database(directory / "directory.db", DIRECTORY_SCHEMA, secure_delete=True)
    with file.writing() as transaction:
        transaction.run_many(
            f"INSERT INTO sites ({SITE_COLUMNS}, merchant) VALUES ({places(SITE_COLUMNS)})",
            ((*site_values(site), merchant_of(site.name)) for site in sites_of(size)),
        )
        transaction.run_many(
            f"INSERT INTO ingest_keys ({KEY_COLUMNS}, secret_digest) VALUES ({places(KEY_COLUMNS)})",
            ((*key_values(key), hashlib.sha256(secret.encode()).digest()) for key, secret in keys_of(size)),
        )
    file.close()


def bulk_is_like_ports(size: ManySites) -> bool:
    """Return whether, on files, `create_in_bulk` writes the same rows as `create_by_ports`."""
    with tempfile.TemporaryDirectory(prefix="hitmesh-bench-") as parent:
        homes = [Path(parent, name) for name in ("ports", "bulk")]
        opened = open_directory(f"{EMBEDDED}{homes[0]}", SystemClock())
        create_by_ports(opened.port, size)
        opened.close()
        create_in_bulk(f"{EMBEDDED}{homes[1]}", size)
        by_ports, in_bulk = (_rows_of(home / "directory.db") for home in homes)
    return by_ports == in_bulk and len(by_ports) > size.sites


def _rows_of(file: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(file)) as connection:
        return [row for name in ("sites", "ingest_keys") for row in sorted(connection.execute(f"SELECT * FROM {name}"))]


def fill_days(stores: Stores, clock: Clock, size: ManySites, open_day: int) -> Mapping[PartitionId, PartitionProgress]:
    """Write raw records, ledger entries, dirty site-days, and site-days that wait until their day closes.

    All writes go through the ports.

    Returns:
        The position after the last written record of each partition. The caller must commit the returned positions.
    """
    log, partitions = stores.log.log_id(Topic.HITS), stores.log.partitions(Topic.HITS)
    reached = {PartitionId(log, number): PartitionProgress(0, clock.now()) for number in range(partitions)}
    names = [site_name(number * size.sites // size.dirty, size.sites_of_merchant) for number in range(size.dirty)]
    offsets = dict.fromkeys(reached, 0)
    for record in _records(names, size, log, partitions, offsets, clock.now()):
        stores.raw.put([record])
        stores.dirty.mark([DirtyMark(site_day, record.position, record.log_time) for site_day in record.site_days])
    every = [site_name(number, size.sites_of_merchant) for number in range(size.sites)]
    for start in range(0, size.sites, _AT_ONCE):
        some = every[start : start + _AT_ONCE]
        stores.dirty.await_close([SiteDay(name, open_day) for name in some])
        stores.ledger.put(_ledger(some, log, open_day, clock.now()))
    return {partition: PartitionProgress(offsets[partition], at.log_time) for partition, at in reached.items()}


def _records(
    names: list[str], size: ManySites, log: str, partitions: int, offsets: dict[PartitionId, int], log_time: int
) -> Iterator[RawRecord]:
    """Yield each partition's records in the order of event time.

    Advance `offsets` by the number of records of each partition.
    """
    rng = np.random.default_rng(0)
    of_partition = np.array([hash64(name) % partitions for name in names])
    for partition in range(partitions):
        sites = np.flatnonzero(of_partition == partition).repeat(size.hits)
        if not len(sites):
            continue
        at_ms = DAY * DAY_MS + rng.integers(0, DAY_MS, len(sites))
        order = np.argsort(at_ms, kind="stable")
        sites, at_ms, key = sites[order], at_ms[order], PartitionId(log, partition)
        for start in range(0, len(sites), size.record_hits):
            chosen = slice(start, start + size.record_hits)
            rows = _rows(names, sites[chosen], at_ms[chosen], start + partition * len(names) * size.hits)
            made = a_record(offsets[key], log_time, rows).record
            yield RawRecord(
                Position(*key, offsets[key]),
                log_time,
                made.rows,
                made.min_event_time,
                made.max_event_time,
                made.value,
                made.schema_version,
                frozenset(SiteDay(name, DAY) for name in set(rows["site"].to_list())),
            )
            offsets[key] += 1


def _rows(names: list[str], sites: I64Array, at_ms: I64Array, first: int) -> pl.DataFrame:
    numbers = np.arange(first, first + len(sites))
    visitors = (sites * _VISITORS + numbers % _VISITORS + 1).astype(np.uint64)
    columns = {
        "site": pl.Series(names).gather(pl.Series(sites)),
        "visitor_hi": visitors,
        "visitor_lo": visitors,
        "hostname": pl.Series(["shop.example"]).new_from_index(0, len(sites)),
        "page_path": pl.select(pl.format("/page/{}", pl.Series(numbers % 7))).to_series(),
    }
    return page_views("", numbers, at_ms, columns)


def _ledger(names: Iterable[str], log: str, day: int, written: int) -> pl.DataFrame:
    """Return ledger entries that balance. Each site has a single hit, which is accepted and counted."""
    some = list(names)
    entries = pl.DataFrame({"site": some}).join(
        pl.DataFrame({"class": [LedgerClass.ACCEPTED.value, LedgerClass.COUNTED.value]}), how="cross"
    )
    values = {
        "kind": LedgerKind.DAY.value,
        "at": day,
        "log": log,
        "partition": 0,
        "epoch": _EPOCH,
        "written": written,
        "hits": 1,
        "sum64": 1,
        "xor64": 1,
    }
    return entries.with_columns(pl.lit(value).alias(name) for name, value in values.items()).select(
        pl.col(name).cast(dtype) for name, dtype in LEDGER_COLUMNS.items()
    )
