"""Sums of money that are exact even beyond an int64 (rule M1).

An amount is at most 10¹⁸ micros, so the sum of ten amounts can overflow an int64. Stored rows hold int64 values, which
are added up when the rows are read. Amounts are added as Int128, and no feasible number of rows can overflow an Int128.
To store a sum beyond an int64, this module splits the sum over several rows with the same key. The amount in each row
fits an int64.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Final

import polars as pl

from hitmesh.model.money import INT64_MAX, INT64_MIN
from hitmesh.model.rows.rollup_rows import AMOUNT_SUM, TRAFFIC_MEASURES, TRAFFIC_SKETCHES, VISITS_MEASURES, sum_type
from hitmesh.model.rows.stream_columns import MOVED_VISITORS

# Each additional row of a key holds 2⁶² of the key's sum, so that the remainder in the first row fits an int64.
_PIECE: Final = 1 << 62
_COUNTED_ONCE: Final = frozenset((*TRAFFIC_MEASURES, *VISITS_MEASURES, MOVED_VISITORS))


def sums(measures: Iterable[str]) -> list[pl.Expr]:
    """Return an expression for the exact sum of each measure.

    Example:
        >>> rows = pl.DataFrame({"gross_revenue": [10**18] * 10})  # ten amounts of the greatest size (rule M1)
        >>> rows.select(sums(["gross_revenue"])).item()
        10000000000000000000
    """
    return [_sum(name) for name in measures]


@cache
def _sum(measure: str) -> pl.Expr:
    return pl.col(measure).cast(sum_type(measure)).sum()


def total(values: pl.Series) -> int:
    """Return the exact sum of a measure's values.

    Example:
        >>> total(pl.Series("refunds", [10**18] * 10)) > INT64_MAX  # rule M1
        True
    """
    return int(values.cast(sum_type(values.name)).sum())


def fits(sums_of_amounts: pl.Series) -> pl.Series | None:
    """Return the sums as int64; None when a sum is beyond an int64.

    Example:
        >>> fits(pl.Series([29_990_000, 10**19], dtype=AMOUNT_SUM)) is None
        True
    """
    narrow = sums_of_amounts.cast(pl.Int64, strict=False)
    return narrow if narrow.null_count() == sums_of_amounts.null_count() else None


def as_rows(folded: pl.DataFrame) -> pl.DataFrame:
    """Return aggregated rows with the sums of amounts as int64.

    If a sum is beyond an int64, additional rows with the same key hold the excess. In the additional rows, all other
    measures are zero and the sketches are null. All rows of a key therefore add up to the exact sum, and no count or
    sketch is counted twice.

    Example:
        >>> folded = pl.DataFrame({"site": "demo/shop", "orders": 10, "refunds": pl.Series([10**19], dtype=AMOUNT_SUM)})
        >>> rows = as_rows(folded)
        >>> rows.height, rows.select(sums(["orders", "refunds"])).row(0)
        (3, (10, 10000000000000000000))
    """
    amounts = [name for name, dtype in folded.schema.items() if dtype == AMOUNT_SUM]
    narrow = folded.with_columns(pl.col(amounts).cast(pl.Int64, strict=False))
    if not any(narrow[name].null_count() for name in amounts):
        return narrow
    pieces = {
        name: pl.when(pl.col(name).is_between(INT64_MIN, INT64_MAX)).then(0).otherwise(pl.col(name) // _PIECE)
        for name in amounts
    }
    counted = folded.with_columns(
        pl.max_horizontal(excess.abs() for excess in pieces.values()).cast(pl.Int64).alias("_more")
    )
    further = (
        counted.filter(pl.col("_more") > 0)
        .with_columns(pl.int_ranges("_more").alias("_piece"))
        .explode("_piece")
        .with_columns(
            *(
                pl.when(pl.col("_piece") < excess.abs())
                .then(excess.sign() * _PIECE)
                .otherwise(0)
                .cast(pl.Int64)
                .alias(name)
                for name, excess in pieces.items()
            ),
            *(pl.lit(0, folded.schema[name]).alias(name) for name in _zero(folded, amounts)),
            *(pl.lit(None, pl.Binary).alias(name) for name in TRAFFIC_SKETCHES if name in folded.columns),
        )
        .select(folded.columns)
    )
    first = folded.with_columns(
        (pl.col(name) - excess * _PIECE).cast(pl.Int64).alias(name) for name, excess in pieces.items()
    )
    return pl.concat([first, further])


def _zero(folded: pl.DataFrame, amounts: list[str]) -> list[str]:
    return [name for name in folded.columns if name in _COUNTED_ONCE and name not in amounts]
