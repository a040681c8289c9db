"""Keep the ledger's entries in memory."""

from __future__ import annotations

import threading

import polars as pl

from hitmesh.adapters.shared.partials import (
    NO_ENTRIES,
    as_kept,
    ledger_sums,
    newest,
    of_some_sites,
    waiting_days,
)
from hitmesh.model.rows.stream_columns import LEDGER_COLUMNS


class MemoryLedger:
    """Implements the port Ledger in memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries = NO_ENTRIES

    def put(self, entries: pl.DataFrame) -> None:
        """Store entries; an entry with a smaller `written` than the stored entry is ignored."""
        put = as_kept(entries, LEDGER_COLUMNS)
        with self._lock:
            self._entries = newest(pl.concat([self._entries, put]), LEDGER_COLUMNS)

    def read(self, site: str | None) -> pl.DataFrame:
        """Return the sums LEDGER_SUMS over all partitions and epochs; `site` None selects all entries."""
        with self._lock:
            entries = self._entries
        return ledger_sums(entries if site is None else entries.filter(pl.col("site") == site))

    def waiting(self, site: str, first_day: int, end_day: int) -> set[int]:
        """Return the days with hits that wait for settlement."""
        return waiting_days(self.read(site), first_day, end_day)

    def read_some(self, after: str | None, max_sites: int) -> tuple[pl.DataFrame, str | None]:
        """Return LEDGER_SUMS for the next sites in order of name, and the last name; None if no more sites follow."""
        return of_some_sites(self.read(None), after, max_sites)
