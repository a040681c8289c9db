"""Absolute values that a redo overwrites: partials of cells and ledger entries (decision A6, rule D5).

Decides which of two values of a key stays, how those of epochs and partitions add up, and what may be put settled.
Knows no storage.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import polars as pl

from hitmesh.adapters.shared.answers import united
from hitmesh.model.amounts import sums as exact_sums
from hitmesh.model.rows.rollup_rows import TRAFFIC_SKETCHES
from hitmesh.model.rows.stream_columns import (
    LEDGER_COLUMNS,
    LEDGER_SUMS,
    PARTIAL_COLUMNS,
    PARTIAL_SUMS,
    SERIES_COLUMNS,
    UNKEYED_DIGESTS,
    LedgerKind,
)
from hitmesh.model.sites import SiteDay

_WRITTEN: Final = "written"
_COUNTS: Final = ("hits", "sum64", "xor64")
_CELL: Final = ("site", "day", "cell", "excluded", "currency")
_ENTRY: Final = tuple(name for name in LEDGER_SUMS if name not in _COUNTS)


def key_of(columns: Mapping[str, pl.DataType]) -> list[str]:
    """Returns the key of rows with these columns: all of them before `written`."""
    names = list(columns)
    return names[: names.index(_WRITTEN)]


def as_kept(rows: pl.DataFrame, columns: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Returns the rows with exactly `columns`, in the order and types of the schema."""
    return rows.select([pl.col(name).cast(dtype) for name, dtype in columns.items()])


def newest(rows: pl.DataFrame, columns: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Returns one row per key: the one with the greatest `written`, of several such the last."""
    in_order = rows.sort(_WRITTEN, maintain_order=True)
    return in_order.unique(subset=key_of(columns), keep="last", maintain_order=True)


def as_settled(rows: pl.DataFrame, site_day: SiteDay) -> pl.DataFrame:
    """Returns what is put settled with exactly SERIES_COLUMNS.

    Raises:
        ValueError: a row is of another site-day.
    """
    others = rows.select("site", "day").unique().rows()
    if set(others) - {tuple(site_day)}:
        raise ValueError(f"settled series of {tuple(site_day)} have rows of {sorted(others)}: put each day by itself")
    return as_kept(rows, SERIES_COLUMNS)


def series(partials: pl.DataFrame) -> pl.DataFrame:
    """Returns SERIES_COLUMNS, one row per (site, day, cell, excluded, currency) in this order.

    `partials` are the newest of their keys, or settled: SERIES_COLUMNS at least.
    """
    sums = [*exact_sums(PARTIAL_SUMS), pl.col("digest", UNKEYED_DIGESTS).sum()]
    cells = partials.group_by(_CELL).agg(*sums, *TRAFFIC_SKETCHES)
    with_sketches = cells.with_columns([united(cells[name]) for name in TRAFFIC_SKETCHES])
    return with_sketches.sort(_CELL).select(list(SERIES_COLUMNS))


def ledger_sums(entries: pl.DataFrame) -> pl.DataFrame:
    """Returns LEDGER_SUMS, one row per (site, kind, at, class) in this order; `entries` are the newest."""
    return (
        entries.group_by(_ENTRY)
        .agg(pl.col("hits").sum(), pl.col("sum64").sum(), pl.col("xor64").bitwise_xor())
        .sort(_ENTRY)
        .select([pl.col(name).cast(dtype) for name, dtype in LEDGER_SUMS.items()])
    )


def waiting_days(sums: pl.DataFrame, first_day: int, end_day: int) -> set[int]:
    """Returns the days of which LEDGER_SUMS say that hits wait for settlement (rule S9)."""
    inside = pl.col("at").is_between(first_day, end_day, closed="left")
    waiting = sums.filter((pl.col("kind") == LedgerKind.WAITS) & inside & (pl.col("hits") != 0))
    return set(waiting["at"].to_list())


NO_PARTIALS: Final = pl.DataFrame(schema=PARTIAL_COLUMNS)
NO_ENTRIES: Final = pl.DataFrame(schema=LEDGER_COLUMNS)


def of_some_sites(sums: pl.DataFrame, after: str | None, max_sites: int) -> tuple[pl.DataFrame, str | None]:
    """Returns LEDGER_SUMS of the next sites by name behind one, and the last of them; None where no more follow."""
    sites = sorted(site for site in sums["site"].unique().to_list() if after is None or site > after)
    some = sites[:max_sites]
    return sums.filter(pl.col("site").is_in(some)), some[-1] if len(sites) > max_sites else None
