"""Fetch a question's rows from Druid and sum the rows in this process (step 8 of the journey).

A union of small sketches takes little memory in this process. Druid reserves a full sketch (256 KiB) for every group in
a query with sketches. A query with a thousand small groups is therefore Druid's worst case. For a query with many
groups, this module fetches rows instead of groups, and shared.answers sums the rows. If visitors moved out of rows
(MOVED_VISITORS), this module fetches rows too. If the column `presence` sums to 0 over the rows of a key, the rows
cancel out. Rows that cancel out are left out, together with their sketches.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import polars as pl

from hitmesh.adapters.druid.answer import refuse_too_many
from hitmesh.adapters.druid.native import TIME, Native, scan
from hitmesh.adapters.druid.question import MAX_ROWS, Matches, exists, interval
from hitmesh.adapters.shared.answers import answer
from hitmesh.adapters.shared.druid_columns import DIMENSIONS, HIGH, PRESENCE, whole_amounts
from hitmesh.model.queries import MetricQuery
from hitmesh.model.rows.stream_columns import MOVED_VISITORS, STREAM_COLUMNS

_NUMBERS: Final = (TIME, PRESENCE, MOVED_VISITORS, *HIGH.values())


def scan_query(question: MetricQuery, data_source: str, matches: Matches) -> Native:
    """Return the query for the question's rows; the answer has a list of values per row."""
    return scan(
        datasource=data_source,
        intervals=[interval(question)],
        filter=exists(question, matches),
        columns=_columns(question),
        limit=MAX_ROWS + 1,
    )


def answered(batches: Iterable[Mapping[str, Any]], question: MetricQuery) -> pl.DataFrame:
    """Compute the answer to a question from Druid's rows.

    Raises:
        RefusedError: there are more than MAX_ROWS rows.
    """
    rows = _frame([event for batch in batches for event in batch["events"]], question)
    key = ["site", "generation", "excluded", "cell", *DIMENSIONS[question.source]]
    net = rows.group_by(key).agg(pl.col(PRESENCE).sum()).filter(pl.col(PRESENCE) != 0)
    return answer(rows.join(net.select(key), on=key, how="semi", nulls_equal=True), question)


def _columns(question: MetricQuery) -> list[str]:
    fixed = [TIME, "site", "generation", "excluded", *DIMENSIONS[question.source], PRESENCE]
    requested = (*_sums(question), *question.sketches)
    return [*fixed, *(name for name in requested if name not in fixed)]


def _sums(question: MetricQuery) -> list[str]:
    return [*question.measures, *(HIGH[name] for name in question.measures if name in HIGH)]


def _frame(events: Sequence[Sequence[Any]], question: MetricQuery) -> pl.DataFrame:
    refuse_too_many(len(events))
    names = _columns(question)
    values = list(zip(*events, strict=True)) if events else [()] * len(names)
    known = {**STREAM_COLUMNS[question.source], **dict.fromkeys(_NUMBERS, pl.Int64())}
    sketches = set(question.sketches)
    columns = {
        name: [_sketch(value) for value in column] if name in sketches else list(column)
        for name, column in zip(names, values, strict=True)
    }
    schema = {name: pl.Int64() if name == "excluded" else known[name] for name in names}
    sums = [PRESENCE, *_sums(question)]
    return whole_amounts(
        pl.DataFrame(columns, schema=schema)
        .rename({TIME: "cell"})
        .with_columns(pl.col("excluded") != 0, pl.col(sums).fill_null(0))
    )


def _sketch(value: str | None) -> bytes | None:
    sketch = base64.b64decode(value) if value else b""
    # For a row that was sent without a sketch, Druid returns an empty sketch.
    return sketch if sketch and not sketch[5] & 0b100 else None
