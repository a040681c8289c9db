"""Sums of money: exact beyond an int64, whatever is added up (rule M1).

One amount is at most 10¹⁸ micros, so ten of them leave an int64. Rows are stored as int64 and are additive; a sum of
amounts is Int128 from the first addition on, which no number of rows can leave. Decides how such a sum becomes rows
again: several of one key, each of which fits. Refuses to know what is added up, and what an answer may hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import polars as pl

from hitmesh.model.rows.rollup_rows import AMOUNT_SUM, TRAFFIC_MEASURES, TRAFFIC_SKETCHES, VISITS_MEASURES, sum_type
from hitmesh.model.rows.stream_columns import MOVED_VISITORS

INT64_MIN: Final = -(1 << 63)
INT64_MAX: Final = (1 << 63) - 1
# What the further rows of a key have of a sum; half of what an int64 holds, so that the first row's rest has room.
_PIECE: Final = 1 << 62
_COUNTED_ONCE: Final = frozenset((*TRAFFIC_MEASURES, *VISITS_MEASURES, MOVED_VISITORS))


def sums(measures: Iterable[str]) -> list[pl.Expr]:
    """Returns the sum of each measure, exact."""
    return [pl.col(name).cast(sum_type(name)).sum() for name in measures]


def total(values: pl.Series) -> int:
    """Returns the sum of a measure's values, exact."""
    return int(values.cast(sum_type(values.name)).sum())


def fits(sums_of_amounts: pl.Series) -> pl.Series | None:
    """Returns the sums as int64; None where one does not fit."""
    narrow = sums_of_amounts.cast(pl.Int64, strict=False)
    return narrow if narrow.null_count() == sums_of_amounts.null_count() else None


def as_rows(folded: pl.DataFrame) -> pl.DataFrame:
    """Returns folded rows with sums of amounts as int64.

    Where a sum does not fit, further rows of the same key hold what the first one cannot: of all else that is added up
    they have nothing, so that whoever adds rows up has the exact sum, and counts and sketches once.
    """
    amounts = [name for name, dtype in folded.schema.items() if dtype == AMOUNT_SUM]
    narrow = folded.with_columns(pl.col(amounts).cast(pl.Int64, strict=False))
    if not any(narrow[name].null_count() for name in amounts):
        return narrow
    pieces = {
        name: pl.when(pl.col(name).is_between(INT64_MIN, INT64_MAX)).then(0).otherwise(pl.col(name) // _PIECE)
        for name in amounts
    }
    counted = folded.with_columns(pl.max_horizontal(one.abs() for one in pieces.values()).cast(pl.Int64).alias("_more"))
    further = (
        counted.filter(pl.col("_more") > 0)
        .with_columns(pl.int_ranges("_more").alias("_piece"))
        .explode("_piece")
        .with_columns(
            *(
                pl.when(pl.col("_piece") < one.abs()).then(one.sign() * _PIECE).otherwise(0).cast(pl.Int64).alias(name)
                for name, one in pieces.items()
            ),
            *(pl.lit(0, folded.schema[name]).alias(name) for name in _zero(folded, amounts)),
            *(pl.lit(None, pl.Binary).alias(name) for name in TRAFFIC_SKETCHES if name in folded.columns),
        )
        .select(folded.columns)
    )
    first = folded.with_columns(
        (pl.col(name) - one * _PIECE).cast(pl.Int64).alias(name) for name, one in pieces.items()
    )
    return pl.concat([first, further])


def _zero(folded: pl.DataFrame, amounts: list[str]) -> list[str]:
    return [name for name in folded.columns if name in _COUNTED_ONCE and name not in amounts]
