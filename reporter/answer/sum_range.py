"""Which sums an answer can hold (step 8 of the journey, rule M1): the others are refused, never rounded or cut.

Sums are exact, whatever their size; messages and numbers of JSON are not that wide. Decides the bounds and what a
caller is told who asks for more. Knows nothing of where sums come from.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final, NoReturn

from hitmesh.model.amounts import INT64_MAX
from hitmesh.model.errors import RefusedError
from hitmesh.model.money import MICROS
from reporter.answer.series import Column, Series

MAX_UNITS: Final = INT64_MAX  # of a google.type.Money
_EXACT_IN_DOUBLE: Final = 1 << 53


def refuse_beyond_messages(rows: Series) -> None:
    """Refuses sums beyond a typed answer: whole units of money and numerators of quotients are int64 there.

    Raises:
        RefusedError: SUM_OUT_OF_RANGE, with metric and bucket.
    """
    for column in rows.columns:
        if column.denominators is None:
            _refuse_money(rows, column)
        elif (row := _first_beyond(column, INT64_MAX)) is not None:
            _refuse(
                rows, column, row, f"a quotient's numerator is at most {INT64_MAX:,}, here of micros: export it as CSV"
            )


def refuse_beyond_files(rows: Series) -> None:
    """Refuses what no file has either, so that a sum is in all of them or in none; quotients are as they are.

    Raises:
        RefusedError: SUM_OUT_OF_RANGE, with metric and bucket.
    """
    for column in rows.columns:
        if column.denominators is None:
            _refuse_money(rows, column)


def json_number(text: str) -> int | float:
    """Returns the number of JSON that is exactly a decimal text.

    Raises:
        RefusedError: SUM_OUT_OF_RANGE: a double is another number.
    """
    number = float(text)
    if abs(number) < _EXACT_IN_DOUBLE or Decimal(repr(number)) == Decimal(text):
        return number
    if "." not in text and abs(int(text)) <= INT64_MAX:
        return int(text)
    raise RefusedError(
        f"{text} has more digits than a number of JSON: export it as CSV, or ask for a finer grain or a shorter range",
        field="format",
        reason="SUM_OUT_OF_RANGE",
    )


def _refuse_money(rows: Series, column: Column) -> None:
    if (row := _first_beyond(column, (MAX_UNITS + 1) * MICROS - 1)) is not None:
        _refuse(rows, column, row, f"a sum of money is at most {MAX_UNITS:,} units")


def _first_beyond(column: Column, most: int) -> int | None:
    """Returns the first row whose sum is not within ±most; sums that are int64 are not looked at."""
    if column.numerators.dtype != object:
        return None
    return next((row for row, sum_ in enumerate(column.numerators.tolist()) if abs(sum_) > most), None)


def _refuse(rows: Series, column: Column, row: int, rule: str) -> NoReturn:
    question = rows.question
    where = f" at {question.buckets.labels[int(rows.buckets[row])]}" if question.has_time else ""
    raise RefusedError(
        f"{column.metric.id}{where} adds up to {column.numerators[row]:,} micros; {rule}, or ask for a finer grain, a "
        "shorter range or a filter",
        field="metrics",
        reason="SUM_OUT_OF_RANGE",
    )
