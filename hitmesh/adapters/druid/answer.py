"""Convert Druid's answers to the data frame that a MetricStore returns (step 8 of the journey).

Arrays of rows become typed columns, and base64 strings become sketches. A group whose rows cancel out is omitted.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Final

import polars as pl

from hitmesh.adapters.druid.question import BUCKET, MAX_ROWS, sum_columns
from hitmesh.adapters.shared.druid_columns import ABOUT, PRESENCE, whole_amounts
from hitmesh.model.errors import RefusedError
from hitmesh.model.queries import MetricQuery
from hitmesh.model.reasons import ErrorReason

# Index of the flags byte in a compact sketch. The flags show whether the sketch is empty. Druid returns an empty sketch
# for a group without sketches.
_FLAGS: Final = 5
_EMPTY: Final = 0b100
_DOUBLES: Final = frozenset(ABOUT.values())


def frame_of(rows: Sequence[Sequence[Any]], question: MetricQuery) -> pl.DataFrame:
    """Return the groups with their sums and sketches, one row per group.

    Raises:
        RefusedError: the answer has more than MAX_ROWS groups.
    """
    refuse_too_many(len(rows))
    sums = sum_columns(question)
    schema: dict[str, pl.DataType] = {BUCKET: pl.Int32(), **dict.fromkeys(question.dimensions, pl.String())}
    schema |= {name: pl.Float64() if name in _DOUBLES else pl.Int64() for name in sums}
    schema |= dict.fromkeys(question.sketches, pl.Binary())
    order = [BUCKET, *question.dimensions, *sums, *question.sketches]
    columns = list(zip(*rows, strict=True)) if rows else [()] * (len(order) + 1)
    by_name = dict(zip([*order, PRESENCE], columns, strict=True))
    frame = pl.DataFrame(
        {name: _column(name, values, question) for name, values in by_name.items()},
        schema={**schema, PRESENCE: pl.Int64()},
    )
    there = frame.filter(pl.col(PRESENCE) != 0).drop(PRESENCE)
    return whole_amounts(there.with_columns(pl.col(sums).fill_null(0)))


def as_promised(frame: pl.DataFrame, question: MetricQuery) -> pl.DataFrame:
    """Return only the requested columns."""
    return frame.select(BUCKET, *question.dimensions, *question.measures, *question.sketches)


def refuse_too_many(rows: int) -> None:
    """Raise RefusedError if an answer has more than MAX_ROWS groups."""
    if rows > MAX_ROWS:
        raise RefusedError(
            f"the answer has more than {MAX_ROWS:,} groups: ask for fewer dimensions, a coarser grain or a shorter "
            "range",
            field="dimensions",
            reason=ErrorReason.TOO_MANY_ROWS,
            limit=MAX_ROWS,
        )


def _column(name: str, values: Sequence[Any], question: MetricQuery) -> list[Any]:
    if name not in question.sketches:
        return list(values)
    decoded = (b"" if value is None else base64.b64decode(value) for value in values)
    return [sketch if sketch and not sketch[_FLAGS] & _EMPTY else None for sketch in decoded]
