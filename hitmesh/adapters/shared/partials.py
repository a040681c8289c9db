"""Combine the stream's totals per epoch: partials and ledger entries (architecture A6, rule D5).

This module decides which of two values with the same key is kept, and how values add up over epochs and partitions. If
the stream repeats an epoch, the new total replaces the earlier total. This module also decides which rows may be stored
as settled series.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import polars as pl

from hitmesh.adapters.shared.answers import united
from hitmesh.model.amounts import sums as exact_sums
from hitmesh.model.ledger import LedgerKind
from hitmesh.model.rows.expressions import as_types
from hitmesh.model.rows.rollup_rows import TRAFFIC_SKETCHES
from hitmesh.model.rows.stream_columns import (
    LEDGER_COLUMNS,
    LEDGER_SUMS,
    PARTIAL_COLUMNS,
    PARTIAL_SUMS,
    SERIES_COLUMNS,
    UNKEYED_DIGESTS,
)
from hitmesh.model.sites import SiteDay

_WRITTEN: Final = "written"
_COUNTS: Final = ("hits", "sum64", "xor64")
_CELL: Final = ("site", "day", "cell", "excluded", "currency")
_ENTRY: Final = tuple(name for name in LEDGER_SUMS if name not in _COUNTS)


def key_of(columns: Mapping[str, pl.DataType]) -> list[str]:
    """Return the names of the key columns, which are all columns before `written`."""
    names = list(columns)
    return names[: names.index(_WRITTEN)]


def as_kept(rows: pl.DataFrame, columns: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Return the rows with exactly `columns`, in this order and with these types."""
    return rows.select(as_types(columns))


def newest(rows: pl.DataFrame, columns: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """For each key, return the row with the greatest `written`.

    If several rows of a key have the greatest `written`, return the last of these rows.
    """
    in_order = rows.sort(_WRITTEN, maintain_order=True)
    return in_order.unique(subset=key_of(columns), keep="last", maintain_order=True)


def as_settled(rows: pl.DataFrame, site_day: SiteDay) -> pl.DataFrame:
    """Return the rows of a settled series with exactly SERIES_COLUMNS.

    Raises:
        ValueError: a row belongs to another site-day.
    """
    others = rows.select("site", "day").unique().rows()
    if set(others) - {tuple(site_day)}:
        raise ValueError(
            f"settled series of {tuple(site_day)} have rows of {sorted(others)}: store each day separately"
        )
    return as_kept(rows, SERIES_COLUMNS)


def series(partials: pl.DataFrame) -> pl.DataFrame:
    """Return SERIES_COLUMNS, one row per (site, day, cell, excluded, currency) in this order.

    `partials` must have at least SERIES_COLUMNS. The rows must be settled rows, or partials with only the newest row
    for each key.
    """
    sums = [*exact_sums(PARTIAL_SUMS), pl.col("digest", UNKEYED_DIGESTS).sum()]
    cells = partials.group_by(_CELL).agg(*sums, *TRAFFIC_SKETCHES)
    with_sketches = cells.with_columns([united(cells[name]) for name in TRAFFIC_SKETCHES])
    return with_sketches.sort(_CELL).select(list(SERIES_COLUMNS))


def ledger_sums(entries: pl.DataFrame) -> pl.DataFrame:
    """Return LEDGER_SUMS, one row per (site, kind, at, class) in this order.

    `entries` must have only the newest entry per key.
    """
    return (
        entries.group_by(_ENTRY)
        .agg(pl.col("hits").sum(), pl.col("sum64").sum(), pl.col("xor64").bitwise_xor())
        .sort(_ENTRY)
        .select(as_types(LEDGER_SUMS))
    )


def waiting_days(sums: pl.DataFrame, first_day: int, end_day: int) -> set[int]:
    """Return the days with hits that wait for settlement (rule S9), according to sums of the ledger (LEDGER_SUMS)."""
    inside = pl.col("at").is_between(first_day, end_day, closed="left")
    waiting = sums.filter((pl.col("kind") == LedgerKind.WAITS) & inside & (pl.col("hits") != 0))
    return set(waiting["at"].to_list())


NO_SERIES: Final = pl.DataFrame(schema=SERIES_COLUMNS)
NO_PARTIALS: Final = pl.DataFrame(schema=PARTIAL_COLUMNS)
NO_ENTRIES: Final = pl.DataFrame(schema=LEDGER_COLUMNS)


def of_some_sites(sums: pl.DataFrame, after: str | None, max_sites: int) -> tuple[pl.DataFrame, str | None]:
    """Return LEDGER_SUMS for the next `max_sites` sites whose names follow `after`, and the last site's name.

    If no more sites follow, the returned name is None.
    """
    sites = sorted(site for site in sums["site"].unique().to_list() if after is None or site > after)
    some = sites[:max_sites]
    return sums.filter(pl.col("site").is_in(some)), some[-1] if len(sites) > max_sites else None
