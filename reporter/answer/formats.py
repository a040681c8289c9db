r"""Format a series as a CSV, JSON or NDJSON file (journey step 8).

CSV follows RFC 4180 and has metric values in plain notation. Durations are in decimal seconds. Amounts of money have
the currency's ISO digits and no symbol (rule M5). Quotients have six decimals, or six significant digits if they are
below 1. A missing value (NO_DATA) is an empty field. In CSV, an apostrophe precedes a dimension value that a
spreadsheet would run as a formula. Other formats keep every dimension value unchanged. JSON and NDJSON contain numbers,
and null for a missing value. CSV, JSON and NDJSON round amounts of money in the same way, including amounts per order
or per visit.

Callers pass the answer's metadata as a mapping, not as a protobuf message.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from enum import StrEnum
from typing import Final, TypeVar

import orjson

from hitmesh.model.checkpoints import Checkpoint, unwatched
from hitmesh.model.money import MICROS, exponent, format_micros
from reporter.answer.series import Column, Series
from reporter.answer.sum_range import json_number, refuse_beyond_files
from reporter.question.catalogue import Unit
from reporter.question.question import TIME

MIN_DECIMALS: Final = 6
# Number of digits for rounding. A quotient with money has up to 25 digits. To detect a tie (a quotient exactly between
# two rounded values), 50 digits are enough.
_WIDE: Final = Context(prec=80)
# Number of rows between two calls of the checkpoint, about 20 ms of work.
ROWS_BETWEEN_LOOKS: Final = 4_096
_StepT = TypeVar("_StepT")
# Matches a text that a spreadsheet runs as a formula. A formula after apostrophes also matches and gets another
# apostrophe, so two different texts never become equal. Plain numbers such as -1 also match, but `_NUMBER` excludes
# them.
_FORMULA: Final = re.compile(r"'*[=+\-@\t\r\n]")
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


class Format(StrEnum):
    """A file format."""

    CSV = "csv"
    JSON = "json"
    NDJSON = "ndjson"


CONTENT_TYPES: Final = {
    Format.CSV: "text/csv; charset=utf-8",
    Format.JSON: "application/json",
    Format.NDJSON: "application/x-ndjson",
}


def to_file(
    form: Format,
    rows: Series,
    totals: Series | None,
    meta: Mapping[str, object],
    currency: str,
    checkpoint: Checkpoint = unwatched,
) -> bytes:
    """Return an answer as a file. Only JSON includes totals and meta.

    Args:
        form: the file format.
        rows: the answer.
        totals: the totals as a single row, when requested.
        meta: the answer's provenance, as JSON values.
        currency: the currency for money columns.
        checkpoint: called before each column and every few thousand rows.

    Raises:
        Abandoned: the caller left or the deadline passed.
        RefusedError: a sum exceeds the bounds for answers, or has more digits than a JSON number (SUM_OUT_OF_RANGE).
    """
    for series in (rows, *([totals] if totals is not None else [])):
        refuse_beyond_files(series)
    match form:
        case Format.CSV:
            return to_csv(rows, currency, checkpoint)
        case Format.NDJSON:
            records = _records(rows, currency, checkpoint)
            return b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in records)
        case Format.JSON:
            document: dict[str, object] = {"rows": list(_records(rows, currency, checkpoint))}
            if totals is not None:
                document["totals"] = next(_records(totals, currency, checkpoint))
            return orjson.dumps(document | {"meta": meta}, option=orjson.OPT_APPEND_NEWLINE)


def to_csv(rows: Series, currency: str, checkpoint: Checkpoint = unwatched) -> bytes:
    """Return a header line and a line per row.

    The header has `time` (unless the grain is NONE), the dimensions and the metric ids.
    """
    keys = [list(map(without_formula, values)) for values in _keys(rows)]
    columns = [*keys, *(cell_texts(column, currency) for column in _watched(rows.columns, checkpoint, 1))]
    lines = io.StringIO(newline="")
    writer = csv.writer(lines)  # lines end with CR LF
    writer.writerow(_header(rows))
    writer.writerows(_watched(zip(*columns, strict=True), checkpoint))
    return lines.getvalue().encode()


def without_formula(value: str) -> str:
    """Return the text, with an apostrophe in front if a spreadsheet would run the text as a formula."""
    return f"'{value}" if _FORMULA.match(value) and not _NUMBER.fullmatch(value) else value


def cell_texts(column: Column, currency: str) -> list[str]:
    """Return a metric's values as plain decimal text. A missing value (NO_DATA) becomes an empty text."""
    texts = _texts(column, currency)
    return ["" if empty else text for empty, text in zip(column.is_empty.tolist(), texts, strict=True)]


def cell_numbers(column: Column, currency: str) -> list[int | float | None]:
    """Return a metric's values as numbers. NO_DATA becomes None."""
    numbers = _numbers(column, currency)
    return [None if empty else number for empty, number in zip(column.is_empty.tolist(), numbers, strict=True)]


def _texts(column: Column, currency: str) -> Iterator[str]:
    sums = column.numerators.tolist()
    if column.denominators is None:
        show = _text_of_sum(column, currency)
        return (show(amount) for amount in (_counts(column) if column.lower is not None else sums))
    pairs = zip(sums, column.denominators.tolist(), strict=True)
    scale, places = _scale_and_places(column.metric.unit, currency)
    return (ratio_text(above, below * scale, places) if below else "" for above, below in pairs)


def _text_of_sum(column: Column, currency: str) -> Callable[[int], str]:
    match column.metric.unit:
        case Unit.CURRENCY:
            return lambda micros: format_micros(micros, currency)
        case Unit.MS:
            return seconds_text
        case _:
            return str


def _numbers(column: Column, currency: str) -> Sequence[int | float | None]:
    match column.metric.unit:
        case Unit.CURRENCY:
            return [json_number(text) if text else None for text in _texts(column, currency)]
        case Unit.MS:
            return [_number(ms / 1_000) for ms in column.values.tolist()]
        case _ if column.denominators is not None:
            return [float(quotient) for quotient in column.values]
        case _:
            return _counts(column)


def _counts(column: Column) -> list[int]:
    """Return whole counts; estimates are rounded."""
    if column.lower is None:
        return [int(count) for count in column.numerators]
    return [0 if math.isnan(count) else round(count) for count in column.values.tolist()]


def _number(real: float) -> int | float:
    return int(real) if real.is_integer() else real


def _scale_and_places(unit: Unit, currency: str) -> tuple[int, int | None]:
    """Return two values: the divisor that converts a quotient to the shown unit, and the `places` for ratio_text."""
    if unit is Unit.CURRENCY:
        return MICROS, exponent(currency)
    return (1_000, None) if unit is Unit.MS else (1, None)


def seconds_text(ms: int) -> str:
    """Return a duration as seconds without trailing zeros, for example `3320` or `1.5`."""
    seconds, rest = divmod(abs(ms), 1_000)
    text = f"{seconds}.{rest:03d}".rstrip("0").rstrip(".")
    return f"-{text}" if ms < 0 else text


def ratio_text(numerator: int, denominator: int, places: int | None) -> str:
    """Return numerator / denominator in plain notation, rounded half-even.

    The text has exactly `places` decimals. If `places` is None, the text has six decimals without trailing zeros. If
    `places` is None and the number is below 1, the text has six significant digits.
    """
    value = _WIDE.divide(Decimal(numerator), Decimal(denominator))
    decimals = places
    if decimals is None:
        decimals = max(MIN_DECIMALS, MIN_DECIMALS - 1 - value.adjusted()) if value else 0
    text = f"{value.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_EVEN, _WIDE):f}"
    return text.rstrip("0").rstrip(".") if places is None and "." in text else text


def _header(rows: Series) -> list[str]:
    question = rows.question
    time = [TIME] if question.has_time else []
    return [*time, *question.dimensions, *(metric.id for metric in question.metrics)]


def _keys(rows: Series) -> list[list[str]]:
    """Return the columns that precede the metrics: time labels and dimensions."""
    if not rows.question.has_time:
        return list(rows.dimensions)
    labels = rows.question.buckets.labels
    return [[labels[bucket] for bucket in rows.buckets.tolist()], *rows.dimensions]


def _records(rows: Series, currency: str, checkpoint: Checkpoint) -> Iterator[dict[str, object]]:
    names = _header(rows)
    columns = [*_keys(rows), *(cell_numbers(column, currency) for column in _watched(rows.columns, checkpoint, 1))]
    lines = _watched(zip(*columns, strict=True), checkpoint)
    return (dict(zip(names, values, strict=True)) for values in lines)


def _watched(steps: Iterable[_StepT], checkpoint: Checkpoint, every: int = ROWS_BETWEEN_LOOKS) -> Iterator[_StepT]:
    """Yield the steps.

    The checkpoint is called before the first step; `every` is the number of steps between two calls.
    """
    for number, step in enumerate(steps):
        if number % every == 0:
            checkpoint()
        yield step
