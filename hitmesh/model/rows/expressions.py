"""Polars expressions that are built once per process.

Polars takes about 5 µs to build an expression. A small site-day needs hundreds of expressions, so building them would
take longer than evaluating them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import polars as pl

# Far more than the columns of all tables. Texts of clients never become names of columns.
_MAX_KEPT = 8_192


@lru_cache(maxsize=_MAX_KEPT)
def as_type(name: str, dtype: pl.DataType) -> pl.Expr:
    """Return the column `name` with the type `dtype`.

    Example:
        >>> pl.DataFrame({"hits": [1]}).select(as_type("hits", pl.Int32()))["hits"].dtype
        Int32
    """
    return pl.col(name).cast(dtype)


def as_types(columns: Mapping[str, pl.DataType]) -> list[pl.Expr]:
    """Return an expression for each of these columns, with its type.

    Example:
        >>> pl.DataFrame({"day": [1], "hits": [2]}).select(as_types({"hits": pl.Int32()})).rows()
        [(2,)]
    """
    return [as_type(name, dtype) for name, dtype in columns.items()]


@lru_cache(maxsize=_MAX_KEPT)
def filled(name: str, dtype: pl.DataType, value: int) -> pl.Expr:
    """Return the column `name` with `value` in place of null, and with the type `dtype`.

    Example:
        >>> pl.DataFrame({"hits": [None, 2]}).select(filled("hits", pl.Int64(), 0)).rows()
        [(0,), (2,)]
    """
    return pl.col(name).fill_null(value).cast(dtype)


@lru_cache(maxsize=_MAX_KEPT)
def constant(name: str, dtype: pl.DataType, value: int | None) -> pl.Expr:
    """Return a column `name` in which each row has the same value, with the type `dtype`.

    Example:
        >>> pl.DataFrame({"day": [1, 2]}).select(constant("hits", pl.Int64(), 0)).rows()
        [(0,)]
    """
    return pl.lit(value).cast(dtype).alias(name)
