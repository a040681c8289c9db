"""Counts the outcome of each hit for the ledger (journey step 5, rule D5).

In the cell of its collect time, each hit is entered as received and as accepted. On the UTC day of its event time, each
hit is entered as accepted, and in one of the classes counted, duplicate, excluded, pending or erased. Refusals are
entered only in the cell of their collect time.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import polars as pl

from hitmesh.model.arrays import BoolArray
from hitmesh.model.ledger import LedgerClass, LedgerKind
from hitmesh.model.limits import CELL_MS
from hitmesh.model.rows.expressions import as_types
from hitmesh.model.rows.stream_columns import LEDGER_SUMS
from hitmesh.model.zones import DAY_MS

_FATES: Final = (LedgerClass.COUNTED, LedgerClass.DUPLICATE, LedgerClass.EXCLUDED, LedgerClass.PENDING)
_NONE: Final = {"hits": pl.Int64, "sum64": pl.UInt64, "xor64": pl.UInt64}
_CELL: Final = (pl.col("collect_time") - pl.col("collect_time") % CELL_MS).alias("at")
_DAY: Final = (pl.col("event_time") // DAY_MS).alias("at")
_SUMS: Final = (
    pl.len().cast(pl.Int64).alias("hits"),
    pl.col("hash").sum().alias("sum64"),
    pl.col("hash").bitwise_xor().alias("xor64"),
)


def ledger_of(hits: pl.DataFrame, is_history: BoolArray, open_copies: pl.Series) -> list[pl.DataFrame]:
    """Return the ledger rows (LEDGER_SUMS) for accepted hits.

    Args:
        hits: site, event_time, collect_time, hit_hash, excluded (n,).
        is_history: whether each hit is a history hit (n,).
        open_copies: for each hit that is not a history hit, whether it is a copy.
    """
    if hits.is_empty():
        return []
    excluded = hits["excluded"].to_numpy()[~is_history]
    fate = np.full(hits.height, _FATES.index(LedgerClass.PENDING), np.uint32)
    fate[~is_history] = np.where(open_copies.to_numpy(), 1, np.where(excluded, 2, 0))
    named = hits.select("site", "collect_time", "event_time", pl.col("hit_hash").alias("hash")).with_columns(
        pl.Series(_FATES, dtype=pl.String).gather(fate).alias("class")
    )
    by_cell = _grouped(named, _CELL, None)
    by_fate = _grouped(named, _DAY, "class")
    return [
        _named(by_cell, LedgerKind.CELL, LedgerClass.RECEIVED),
        _named(by_cell, LedgerKind.CELL, LedgerClass.ACCEPTED),
        _named(_grouped(named, _DAY, None), LedgerKind.DAY, LedgerClass.ACCEPTED),
        _named(by_fate, LedgerKind.DAY, None),
    ]


def erased_of(hits: pl.DataFrame) -> list[pl.DataFrame]:
    """Return the ledger rows (LEDGER_SUMS) for blank rows.

    Blank rows count as received and accepted, like the hits that they replace. The outcome of a blank row is ERASED,
    whatever the outcome of the replaced hit was. A replay must overwrite the entries that the hits had before the
    erasure. The outcomes COUNTED, DUPLICATE, EXCLUDED and PENDING therefore get entries with the count 0.

    Args:
        hits: the blank rows, with the columns site, event_time, collect_time and hit_hash.
    """
    if hits.is_empty():
        return []
    named = hits.select("site", "collect_time", "event_time", pl.col("hit_hash").alias("hash"))
    by_cell, by_day = _grouped(named, _CELL, None), _grouped(named, _DAY, None)
    none = by_day.with_columns(pl.lit(0, dtype).alias(name) for name, dtype in _NONE.items())
    return [
        _named(by_cell, LedgerKind.CELL, LedgerClass.RECEIVED),
        _named(by_cell, LedgerKind.CELL, LedgerClass.ACCEPTED),
        _named(by_day, LedgerKind.DAY, LedgerClass.ACCEPTED),
        _named(by_day, LedgerKind.DAY, LedgerClass.ERASED),
        *(_named(none, LedgerKind.DAY, fate) for fate in _FATES),
    ]


def waiting_of(hits: pl.DataFrame) -> list[pl.DataFrame]:
    """Return the ledger rows (LEDGER_SUMS) for hits that wait for settlement.

    `hits` has the columns site (name), event_time, hit_hash, excluded.
    """
    if hits.is_empty():
        return []
    fate = pl.when("excluded").then(pl.lit(str(LedgerClass.EXCLUDED))).otherwise(pl.lit(str(LedgerClass.COUNTED)))
    named = hits.select("site", "event_time", pl.col("hit_hash").alias("hash"), fate.alias("class"))
    return [_named(_grouped(named, _DAY, "class"), LedgerKind.WAITS, None)]


def refusals_of(refused: pl.DataFrame) -> list[pl.DataFrame]:
    """Return the ledger rows (LEDGER_SUMS) for refused hits.

    The columns are site, collect_time, hits, and `hash`, the hash64 of each row's id.
    """
    if refused.is_empty():
        return []
    sums = refused.group_by("site", _CELL).agg(pl.col("hits").sum(), *_SUMS[1:])
    return [
        _named(sums, LedgerKind.CELL, LedgerClass.RECEIVED),
        _named(sums, LedgerKind.CELL, LedgerClass.REJECTED),
    ]


def unreadable(collect_time: int, hits: int, sum64: int, xor64: int, of: LedgerClass) -> pl.DataFrame:
    """Return the ledger row (LEDGER_SUMS) for hits that a record announces in its header but does not contain.

    The row has no site. `hits` is negative if the record has more hits than its header announces.
    """
    row = {
        "site": "",
        "kind": LedgerKind.CELL,
        "at": collect_time - collect_time % CELL_MS,
        "class": of,
        "hits": hits,
        "sum64": sum64,
        "xor64": xor64,
    }
    return pl.DataFrame([row], schema=LEDGER_SUMS)


def _grouped(hits: pl.DataFrame, at: pl.Expr, by: str | None) -> pl.DataFrame:
    return hits.group_by("site", at, *([by] if by else [])).agg(*_SUMS)


def _named(sums: pl.DataFrame, kind: LedgerKind, of: LedgerClass | None) -> pl.DataFrame:
    named = sums.with_columns(pl.lit(str(kind)).alias("kind"))
    if of is not None:
        named = named.with_columns(pl.lit(str(of)).alias("class"))
    return named.select(as_types(LEDGER_SUMS))
