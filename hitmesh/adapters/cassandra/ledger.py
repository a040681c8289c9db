"""Store the ledger, which accounts for every hit, on Cassandra.

The write timestamp of a row is the entry's field `written`, so Cassandra keeps the newest entry per key (rule D5). A
read covers a site, a page of sites or all sites. Rows are summed in batches of bounded size to limit memory. The module
hitmesh.adapters.shared.partials decides how entries add up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

import polars as pl

from hitmesh.adapters.cassandra.session import CassandraSession, Row
from hitmesh.adapters.shared.bits import to_unsigned
from hitmesh.adapters.shared.partials import as_kept, ledger_sums, newest, waiting_days
from hitmesh.model.ledger import LedgerKind
from hitmesh.model.rows.stream_columns import LEDGER_COLUMNS, LEDGER_SUMS

_PUT: Final = """INSERT INTO ledger (site, zero, kind, at, of_class, log, partition, epoch, hits, sum64, xor64)
    VALUES (?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"""
_READ: Final = "SELECT site, kind, at, of_class, hits, sum64, xor64 FROM ledger"
_READ_SITE: Final = f"{_READ} WHERE site = ? AND zero = 0"
_READ_WAITING: Final = f"{_READ_SITE} AND kind = ? AND at >= ? AND at < ?"
_SITES: Final = "SELECT DISTINCT site, zero FROM ledger"
_BEHIND: Final = "WHERE token(site, zero) > token(?, 0)"
_PARTITION: Final = 1  # the partition key is the first key column: site
_SITES_AT_ONCE: Final = 8
_KEY: Final = ("site", "kind", "at", "class", "log", "partition", "epoch", "hits")
_ROWS_AT_ONCE: Final = 50_000


class CassandraLedger:
    """Implements the port Ledger. Thread-safe."""

    def __init__(self, session: CassandraSession) -> None:
        self._session = session

    def put(self, entries: pl.DataFrame) -> None:
        """Store entries durably; an entry older than the stored entry changes nothing."""
        put = newest(as_kept(entries, LEDGER_COLUMNS), LEDGER_COLUMNS)
        bits = [pl.col(name).reinterpret(signed=True) for name in ("sum64", "xor64")]
        self._session.run_by_partition(_PUT, put.select(*_KEY, *bits, "written").iter_rows(), _PARTITION)

    def read(self, site: str | None) -> pl.DataFrame:
        """Return LEDGER_SUMS for a site; `site` None means all sites, including hits without a site."""
        rows = self._session.stream(_READ) if site is None else self._session.stream(_READ_SITE, (site,))
        return _summed(rows)

    def waiting(self, site: str, first_day: int, end_day: int) -> set[int]:
        """Return the days with hits that wait for settlement. Most sites never have hits that wait for settlement."""
        rows = self._session.run(_READ_WAITING, (site, LedgerKind.WAITS, first_day, end_day))
        return waiting_days(_frame(list(rows)), first_day, end_day)

    def read_some(self, after: str | None, max_sites: int) -> tuple[pl.DataFrame, str | None]:
        """Return LEDGER_SUMS for the next sites in token order.

        The second returned value is the last site's name; None if no more sites follow.
        """
        behind, values = ("", ()) if after is None else (_BEHIND, (after,))
        sites = [row.site for row in self._session.run(f"{_SITES} {behind} LIMIT ?", (*values, max_sites + 1))]
        some = sites[:max_sites]
        found = self._session.each(_READ_SITE, ((site,) for site in some), max_in_flight=_SITES_AT_ONCE)
        sums = _summed(row for rows in found for row in rows)
        return sums, some[-1] if len(sites) > max_sites else None


def _summed(rows: Iterable[Row]) -> pl.DataFrame:
    """Sum many rows in batches of bounded size."""
    sums, left = pl.DataFrame(schema=LEDGER_SUMS), iter(rows)
    while True:
        some = list(islice(left, _ROWS_AT_ONCE))
        sums = ledger_sums(pl.concat([sums, _frame(some)]))
        if len(some) < _ROWS_AT_ONCE:
            return sums


def _frame(rows: Sequence[Row]) -> pl.DataFrame:
    values = [(*row[:5], to_unsigned(row.sum64), to_unsigned(row.xor64)) for row in rows]
    return pl.DataFrame(values, schema=LEDGER_SUMS, orient="row")
