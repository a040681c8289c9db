"""Collects the output columns of a micro-batch, and converts them to a table.

If a column is set for some rows only, the column's other rows are empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from collector.admission.texts import Texts, picked
from hitmesh.model.arrays import BoolArray, I32Array, I64Array
from hitmesh.model.rows.columns import HITS_COLUMNS

Rows = npt.NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class Numbers:
    """A column with one number per row.

    If `known` is None, no row is null. Otherwise, a row is null if its entry in `known` is false.
    """

    values: npt.NDArray[np.generic]
    known: BoolArray | None = None


class Columns:
    """The columns of a micro-batch, named as in HITS_COLUMNS, each with `height` rows.

    A column that was never set contains nulls.
    """

    def __init__(self, height: int) -> None:
        self.height = height
        self._texts: dict[str, Texts] = {}
        self._numbers: dict[str, Numbers] = {}
        self._coded: dict[str, tuple[pl.Series, npt.NDArray[np.integer]]] = {}
        self._series: dict[str, pl.Series] = {}

    def text(self, name: str) -> Texts | None:
        """Return a string column, or None if the column was never set."""
        return self._texts.get(name)

    def set_text(self, name: str, texts: Texts | None, rows: Rows | None = None) -> None:
        """Set a whole string column, or only the rows `rows`, where the column must not have a value yet."""
        if texts is None:
            return
        if rows is not None:
            texts = texts.scattered(rows, self.height)
            if name in self._texts:
                texts = texts.or_else(self._texts[name])
        self._texts[name] = texts

    def set_numbers(self, name: str, values: npt.NDArray[np.generic], known: BoolArray | None = None) -> None:
        """Set a numeric column. A row becomes null if its entry in `known` is false."""
        self._numbers[name] = Numbers(values, known)

    def set_numbers_at(self, name: str, values: npt.NDArray[np.generic], rows: Rows) -> None:
        """Set the given rows in a numeric column. Rows that were never set stay null."""
        before = self._numbers.get(name)
        if before is None or before.known is None:
            whole, known = np.zeros(self.height, dtype=values.dtype), np.zeros(self.height, dtype=np.bool_)
        else:
            whole, known = before.values, before.known
        whole[rows], known[rows] = values, True
        self._numbers[name] = Numbers(whole, known)

    def set_false(self, name: str, rows: Rows) -> None:
        """Set the given rows in an existing boolean column to false."""
        self._numbers[name].values[rows] = False

    def set_coded(self, name: str, values: pl.Series, codes: npt.NDArray[np.integer]) -> None:
        """Set a column in which row i has the value values[codes[i]]."""
        self._coded[name] = (values, codes)

    def set_series(self, name: str, series: pl.Series) -> None:
        """Set a column of any type."""
        self._series[name] = series

    def series(self, name: str) -> pl.Series | None:
        """Return a column that `set_series` stored, or None if the column was never set."""
        return self._series.get(name)

    def series_of(self, rows: Rows) -> list[pl.Series]:
        """Return the given rows of all columns, in the order of HITS_COLUMNS."""
        return [self._column(name, dtype, rows) for name, dtype in HITS_COLUMNS.items()]

    def series_at(self, name: str, rows: Rows) -> pl.Series:
        """Return the given rows of one column. The column must be listed in HITS_COLUMNS."""
        return self._column(name, HITS_COLUMNS[name], rows)

    def _column(self, name: str, dtype: pl.DataType, rows: Rows) -> pl.Series:
        if name in self._texts:
            return self._texts[name].column(name, rows)
        if name in self._numbers:
            return _as_series(name, self._numbers[name], dtype, rows)
        if name in self._coded:
            values, codes = self._coded[name]
            return picked(values, codes[rows]).alias(name)
        if name in self._series:
            return picked(self._series[name], rows).alias(name)
        return _null(name).new_from_index(0, len(rows))


@cache
def _null(name: str) -> pl.Series:
    return pl.Series(name, [None], dtype=HITS_COLUMNS[name])


def _as_series(name: str, numbers: Numbers, dtype: pl.DataType, rows: Rows) -> pl.Series:
    values = numbers.values[rows]
    if numbers.known is None:
        series = pl.Series(name, values)
    else:
        series = pl.Series(name, pa.array(values, mask=~numbers.known[rows]))
    return series if series.dtype == dtype else series.cast(dtype)


def distinct_tuples(columns: Sequence[npt.NDArray[np.integer]]) -> tuple[I64Array, I32Array]:
    """Assign a number to each distinct tuple of codes. Return each tuple's first row, and each row's tuple number.

    The codes must be small integers and must not be negative. All columns must have the same length.
    """
    codes = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        joined = codes * (int(column.max(initial=0)) + 1) + column
        codes = pa.array(joined).dictionary_encode().indices.to_numpy().astype(np.int64)
    first = np.zeros(int(codes.max(initial=-1)) + 1, dtype=np.int64)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    return first, codes.astype(np.int32)
