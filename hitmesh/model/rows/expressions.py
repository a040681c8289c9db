"""Polars expressions of columns. Each expression is built once per process.

To build an expression takes about 7 µs. Settling a small site-day needs hundreds of expressions. Building the
expressions for each site-day took a seventh of the settlement's CPU time. The names of columns are constants of the
code and never come from clients, so the caches cannot grow without bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import polars as pl


@cache
def as_type(name: str, dtype: pl.DataType) -> pl.Expr:
    """Return the column `name` with the type `dtype`.

    Example:
        >>> pl.DataFrame({"hits": [1]}).select(as_type("hits", pl.Int32()))["hits"].dtype
        Int32
    """
    return pl.col(name).cast(dtype)


def as_types(columns: Mapping[str, pl.DataType]) -> list[pl.Expr]:
    """Return each of these columns with its type.

    Example:
        >>> pl.DataFrame({"day": [1], "hits": [2]}).select(as_types({"hits": pl.Int32()})).rows()
        [(2,)]
    """
    return [as_type(name, dtype) for name, dtype in columns.items()]


@cache
def filled(name: str, dtype: pl.DataType, value: int) -> pl.Expr:
    """Return the column `name` with `value` in place of null, and with the type `dtype`.

    Example:
        >>> pl.DataFrame({"hits": [None, 2]}).select(filled("hits", pl.Int64(), 0)).rows()
        [(0,), (2,)]
    """
    return pl.col(name).fill_null(value).cast(dtype)


@cache
def constant(name: str, dtype: pl.DataType, value: int | None) -> pl.Expr:
    """Return a column `name` in which each row has the same value, with the type `dtype`.

    Example:
        >>> pl.DataFrame({"day": [1, 2]}).select("day", constant("hits", pl.Int64(), 0)).rows()
        [(1, 0), (2, 0)]
    """
    return pl.lit(value).cast(dtype).alias(name)
