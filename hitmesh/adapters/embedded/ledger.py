"""Store the ledger, which accounts for every hit, on one machine in raw.db (step 6 of the journey, rule D5).

If a partition's latest epoch is 4 h after the end of an hour or of a day, the hour or day is final for the partition.
When the stream repeats work after a crash, the entries of a final hour or day do not change. When an hour is final, the
hour's entries for a key are merged into a single entry. When the day is final, the day's entries for a key are merged
into a single entry. A site's ledger therefore stays short however long the mesh runs. The module
hitmesh.adapters.shared.partials decides the content of entries.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import polars as pl

from hitmesh.adapters.embedded.sqlite import Database, Transaction, Value
from hitmesh.adapters.shared.partials import as_kept, ledger_sums, newest, waiting_days
from hitmesh.model.ledger import LedgerKind
from hitmesh.model.rows.stream_columns import LEDGER_COLUMNS
from hitmesh.model.zones import DAY_MS

# A redo after a crash begins at the last snapshot, which is minutes old, and rewrites only recent epochs. If the state
# is rebuilt from an earlier position, the stream also rewrites entries that were already merged. `put` ignores entries
# that were already merged.
FINAL_AFTER_MS: Final = 4 * 3_600_000
_SPANS_MS: Final = (3_600_000, DAY_MS)

_COLUMNS: Final = "site, kind, at, class, log_id, partition_no, epoch, written, hits, sum64, xor64"
_INSERT: Final = f"INSERT INTO ledger ({_COLUMNS}) VALUES ({', '.join('?' * 11)})"
_PUT: Final = f"""{_INSERT} ON CONFLICT DO UPDATE SET written = excluded.written, hits = excluded.hits,
    sum64 = excluded.sum64, xor64 = excluded.xor64 WHERE excluded.written >= written"""
_OF_SITES: Final = "ledger_epochs CROSS JOIN ledger USING (log_id, partition_no, epoch) WHERE site >= ? AND site <= ?"
_IN_SPAN: Final = "WHERE log_id = ? AND partition_no = ? AND epoch >= ? AND epoch < ?"
_SORTED_BY: Final = ("epoch", "site", "kind", "at", "class")
_CHECKSUMS: Final = ("sum64", "xor64")
_COUNTS: Final = ("written", "hits", *_CHECKSUMS)


class _Latest(NamedTuple):
    """The latest epoch among a partition's entries in a call of `put`."""

    log: str
    partition: int
    epoch: int


class _Epoch(NamedTuple):
    log: str
    partition: int
    epoch: int


class EmbeddedLedger:
    """Implements the port Ledger in raw.db."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, entries: pl.DataFrame) -> None:
        """Store entries durably in a single transaction.

        Then merge, for each partition, the entries of the first hour and the first day that are final but not merged
        yet.
        """
        put = newest(as_kept(entries, LEDGER_COLUMNS), LEDGER_COLUMNS)
        latest = [_Latest(*row) for row in put.group_by("log", "partition").agg(pl.col("epoch").max()).rows()]
        with self._database.writing() as transaction:
            for latest_epoch in latest:
                of_partition = (pl.col("log") == latest_epoch.log) & (pl.col("partition") == latest_epoch.partition)
                still_open = pl.col("epoch") >= _final_before(transaction, latest_epoch)
                open_entries = put.filter(of_partition & still_open).sort(_SORTED_BY)
                transaction.run_many(_PUT, _stored(open_entries))
                _note_epochs(transaction, latest_epoch, open_entries)
        for latest_epoch in latest:
            for span_ms in _SPANS_MS:
                self._add_up(latest_epoch, span_ms)

    def read(self, site: str | None) -> pl.DataFrame:
        """Return the sums LEDGER_SUMS over all partitions and epochs; `site` None selects all entries."""
        with self._database.reading() as transaction:
            if site is None:
                return ledger_sums(_entries(transaction, "ledger", ()))
            of_site = "ledger_epochs CROSS JOIN ledger USING (log_id, partition_no, epoch) WHERE site = ?"
            return ledger_sums(_entries(transaction, of_site, (site,)))

    def waiting(self, site: str, first_day: int, end_day: int) -> set[int]:
        """Return the days with hits that wait for settlement. The call costs an index look-up for each epoch."""
        of_kind = (
            "ledger_epochs CROSS JOIN ledger USING (log_id, partition_no, epoch) "
            "WHERE site = ? AND kind = ? AND at >= ? AND at < ?"
        )
        with self._database.reading() as transaction:
            entries = _entries(transaction, of_kind, (site, LedgerKind.WAITS, first_day, end_day))
        return waiting_days(entries, first_day, end_day)

    def read_some(self, after: str | None, max_sites: int) -> tuple[pl.DataFrame, str | None]:
        """Return LEDGER_SUMS for the next sites in order of name, and the last name; None if no more sites follow.

        The call costs an index look-up for each epoch. The call reads only the returned sites' entries, however many
        other sites exist.
        """
        with self._database.reading() as transaction:
            epochs = transaction.rows(_Epoch, "SELECT log_id, partition_no, epoch FROM ledger_epochs")
            names = {name for epoch in epochs for name in _next_sites(transaction, epoch, after, max_sites + 1)}
            some = sorted(names)[:max_sites]
            if not some:
                return ledger_sums(_entries(transaction, "ledger LIMIT 0", ())), None
            entries = _entries(transaction, _OF_SITES, (some[0], some[-1]))
        return ledger_sums(entries), some[-1] if len(names) > max_sites else None

    def _add_up(self, latest: _Latest, span_ms: int) -> None:
        """Merge, for each key, the entries of the first hour or day that is final but not merged yet."""
        with self._database.reading() as transaction:
            span = _first_span(transaction, latest, span_ms)
        if span is None or span[-1] > latest.epoch - FINAL_AFTER_MS:
            return
        with self._database.writing() as transaction:
            there = _entries(transaction, f"ledger {_IN_SPAN}", span)
            for table in ("ledger", "ledger_epochs"):
                transaction.run(f"DELETE FROM {table} {_IN_SPAN}", span)
            added_up = _added_up(there, span[2])
            transaction.run_many(_INSERT, _stored(added_up))
            _note_epochs(transaction, latest, added_up)
            transaction.run("REPLACE INTO ledger_folds VALUES (?, ?, ?, ?)", (*span[:2], span_ms, span[3]))


def _next_sites(transaction: Transaction, epoch: _Epoch, after: str | None, limit: int) -> list[str]:
    """Return the next sites after `after` that have entries in an epoch: at most `limit` names, sorted."""
    behind, values = ("", ()) if after is None else ("AND site > ?", (after,))
    return transaction.rows(
        str,
        f"""SELECT DISTINCT site FROM ledger WHERE log_id = ? AND partition_no = ? AND epoch = ? {behind}
        ORDER BY site LIMIT ?""",
        (*epoch, *values, limit),
    )


def _first_span(transaction: Transaction, latest: _Latest, span_ms: int) -> tuple[str, int, int, int] | None:
    """Return (log, partition, start, end) of the first hour or day with unmerged entries; None if all are merged."""
    done = transaction.first(
        int,
        "SELECT end_epoch FROM ledger_folds WHERE log_id = ? AND partition_no = ? AND span_ms = ?",
        (*latest[:2], span_ms),
    )
    first = transaction.first(
        int,
        """SELECT epoch FROM ledger_epochs WHERE log_id = ? AND partition_no = ? AND epoch >= ?
        ORDER BY epoch LIMIT 1""",
        (*latest[:2], done or 0),
    )
    if first is None:
        return None
    start = first - first % span_ms
    return latest.log, latest.partition, start, start + span_ms


def _note_epochs(transaction: Transaction, of: _Latest, entries: pl.DataFrame) -> None:
    """Record, in `ledger_epochs`, the epochs for which the partition has entries."""
    transaction.run_many(
        "INSERT OR IGNORE INTO ledger_epochs VALUES (?, ?, ?)",
        [(of.log, of.partition, epoch) for epoch in entries["epoch"].unique().to_list()],
    )


def _final_before(transaction: Transaction, latest: _Latest) -> int:
    """Return the epoch before which all entries of a partition are merged."""
    return (
        transaction.first(
            int,
            "SELECT coalesce(max(end_epoch), 0) FROM ledger_folds WHERE log_id = ? AND partition_no = ?",
            latest[:2],
        )
        or 0
    )


def _added_up(entries: pl.DataFrame, epoch: int) -> pl.DataFrame:
    """Merge the entries for each key into a single entry, whose epoch is `epoch`."""
    keys = [name for name in LEDGER_COLUMNS if name not in _COUNTS]
    sums = (pl.col("written").max(), pl.col("hits").sum(), pl.col("sum64").sum(), pl.col("xor64").bitwise_xor())
    merged = entries.with_columns(pl.lit(epoch, pl.Int64).alias("epoch")).group_by(keys).agg(*sums)
    return as_kept(merged, LEDGER_COLUMNS).sort(_SORTED_BY)


def _stored(entries: pl.DataFrame) -> list[tuple[Value, ...]]:
    """Return entries as table rows."""
    return entries.with_columns(pl.col(_CHECKSUMS).reinterpret(signed=True)).rows()


def _entries(transaction: Transaction, which: str, values: tuple[Value, ...]) -> pl.DataFrame:
    rows = transaction.rows(lambda *row: row, f"SELECT {_COLUMNS} FROM {which}", values)
    schema = {name: pl.Int64() if dtype == pl.UInt64 else dtype for name, dtype in LEDGER_COLUMNS.items()}
    found = pl.DataFrame(rows, schema=schema, orient="row")
    return found.with_columns(pl.col(_CHECKSUMS).reinterpret(signed=False))
