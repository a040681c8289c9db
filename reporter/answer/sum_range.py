"""The range of sums in an answer (journey step 8, rule M1).

A sum beyond the bounds is refused, never rounded or cut.

Sums are exact at any size, but messages and JSON numbers have bounds. This module defines the bounds, and raises the
error for a sum beyond the bounds.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, NoReturn

from hitmesh.model.errors import RefusedError
from hitmesh.model.money import INT64_MAX, MICROS
from hitmesh.model.reasons import ErrorReason
from reporter.answer.series import Column, Series

MAX_UNITS: Final = INT64_MAX  # the bound of google.type.Money.units
_EXACT_IN_DOUBLE: Final = 1 << 53


def refuse_beyond_messages(rows: Series) -> None:
    """Refuse sums that a message cannot hold.

    In a message, whole units of money and the numerators of quotients are int64.

    Raises:
        RefusedError: a sum is too large (SUM_OUT_OF_RANGE); the error names the metric and the bucket.
    """
    for column in rows.columns:
        if column.denominators is None:
            _refuse_money(rows, column)
        elif (row := _first_beyond(column, INT64_MAX)) is not None:
            _refuse(
                rows,
                column,
                row,
                INT64_MAX,
                f"the numerator of a quotient is at most {INT64_MAX:,} micros: export the report as CSV, or ask for",
            )


def refuse_beyond_files(rows: Series) -> None:
    """Refuse sums beyond the bounds for files. All file formats have the same bounds; quotients are not checked.

    Raises:
        RefusedError: a sum is too large (SUM_OUT_OF_RANGE); the error names the metric and the bucket.
    """
    for column in rows.columns:
        if column.denominators is None:
            _refuse_money(rows, column)


def json_number(text: str) -> int | float:
    """Return the JSON number that exactly equals a decimal text.

    Raises:
        RefusedError: neither a double nor an int64 equals the text (SUM_OUT_OF_RANGE).
    """
    number = float(text)
    if abs(number) < _EXACT_IN_DOUBLE or Decimal(repr(number)) == Decimal(text):
        return number
    if "." not in text and abs(int(text)) <= INT64_MAX:
        return int(text)
    raise RefusedError(
        f"{text} has more digits than a JSON number can hold: export the report as CSV, or ask for a finer grain or a "
        "shorter range",
        field="format",
        reason=ErrorReason.SUM_OUT_OF_RANGE,
        value=text,
    )


def _refuse_money(rows: Series, column: Column) -> None:
    limit = (MAX_UNITS + 1) * MICROS - 1
    if (row := _first_beyond(column, limit)) is not None:
        _refuse(rows, column, row, limit, f"a sum of money is at most {limit:,} micros: ask for")


def _first_beyond(column: Column, most: int) -> int | None:
    """Return the first row whose sum is outside ±most, or None. An int64 column is never out of range."""
    if column.numerators.dtype != object:
        return None
    return next((row for row, sum_ in enumerate(column.numerators.tolist()) if abs(sum_) > most), None)


def _refuse(rows: Series, column: Column, row: int, limit: int, rule: str) -> NoReturn:
    question = rows.question
    bucket = question.buckets.labels[int(rows.buckets[row])] if question.has_time else ""
    where = f" at {bucket}" if bucket else ""
    raise RefusedError(
        f"{column.metric.id}{where} adds up to {column.numerators[row]:,} micros; {rule} a finer grain, a shorter "
        "range or a filter",
        field="metrics",
        reason=ErrorReason.SUM_OUT_OF_RANGE,
        metric=column.metric.id,
        value=column.numerators[row],
        bucket=bucket,
        limit=limit,
    )
