"""Encode rows and progress marks for Druid as newline-separated JSON (step 6 of the journey, architecture §4).

A message holds up to 500 rows in the sort order of segments. Empty columns are omitted, and sketches are encoded in
base64. The library polars encodes whole columns; no code in this module loops over rows.
"""

from __future__ import annotations

from typing import Final

import orjson
import polars as pl

from hitmesh.adapters.shared.druid_columns import (
    COUNTS,
    DIMENSIONS,
    HALF,
    HIGH,
    MARK,
    MARK_LOG_TIME,
    MARK_OFFSET,
    PRESENCE,
    SENT,
    SMALL,
    SORTED,
    TIME,
)
from hitmesh.model.generations import STREAM_GENERATION
from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.rows.rollup_rows import TRAFFIC_SKETCHES, RowSource
from hitmesh.model.rows.stream_columns import STREAM_MEASURES
from hitmesh.model.zones import DAY_MS

MAX_ROWS: Final = 500
_MAX_BYTES: Final = 4 << 20  # Larger messages are halved. A sketch has at most 32 KiB, so no message exceeds 8 MiB.
# A column is rare if fewer than a quarter of the rows have a value in the column. Rows without values in rare columns
# are sent in separate messages, which omit these columns.
_SELDOM: Final = 0.25
_ALWAYS: Final = (TIME, "site", "generation", "excluded", SENT)  # in every message


def encoded(rows: pl.DataFrame, source: RowSource) -> list[bytes]:
    """Return rows as messages of up to 500 JSON lines. Rows are sorted like segments, so that Druid sorts faster.

    Rows with values in rare columns come last, so that the other messages omit these columns.

    Args:
        rows: columns of hitmesh.model.rows.rollup_rows, or of the stream's rows, which have an additional measure.
        source: the row source.

    Raises:
        ValueError: a row's cell is not in the row's day. Druid stores a row by its cell, so a query for the row's day
            would not find the row.
    """
    if (rows["cell"] // DAY_MS != rows["day"]).any():
        raise ValueError("a row's cell is outside the row's UTC day")
    sent = _as_sent(rows, source).sort(TIME, "site", *SORTED[source], maintain_order=True)
    return [
        message
        for part in _with_and_without_seldom(sent)
        for first in range(0, part.height, MAX_ROWS)
        for message in _messages(part[first : first + MAX_ROWS])
    ]


def encoded_mark(partition: PartitionId, progress: PartitionProgress) -> bytes:
    """Return a partition's progress mark: all rows from records before `progress` were sent before the mark."""
    return orjson.dumps(
        {
            TIME: progress.log_time - progress.log_time % DAY_MS,
            MARK: mark_of(partition),
            MARK_OFFSET: progress.next_offset,
            MARK_LOG_TIME: progress.log_time,
        }
    )


def mark_of(partition: PartitionId) -> str:
    """Return the name of a log partition in progress marks."""
    return f"{partition.log}/{partition.partition}"


def _as_sent(rows: pl.DataFrame, source: RowSource) -> pl.DataFrame:
    measures = [name for name in STREAM_MEASURES[source] if name in rows.columns]
    sketches = [name for name in TRAFFIC_SKETCHES if name in rows.columns]
    large = _large_amounts(rows)
    return rows.select(
        pl.col("cell").alias(TIME),
        "site",
        "generation",
        pl.col("excluded").cast(pl.Int8),
        *DIMENSIONS[source],
        *(name for name in measures if name not in large),
        *(
            pl.when(split).then(pl.col(name) % HALF).otherwise(pl.col(name)).alias(name)
            for name, split in large.items()
        ),
        *(pl.when(split).then(pl.col(name) // HALF).otherwise(0).alias(HIGH[name]) for name, split in large.items()),
        # Settled rows never cancel out, so a settled row has a `presence` of at least 1. If rows of the stream cancel
        # out, the sum of `presence` over these rows is 0.
        (pl.sum_horizontal(COUNTS[source]) + (pl.col("generation") > STREAM_GENERATION)).alias(PRESENCE),
        pl.lit(1).alias(SENT),
        *(pl.col(name).bin.encode("base64") for name in sketches),
    )


def _large_amounts(rows: pl.DataFrame) -> dict[str, pl.Expr]:
    """Return the columns with large amounts, each with an expression for the rows whose amount is large."""
    there = [name for name in HIGH if name in rows.columns]
    found = {name: (pl.col(name) >= SMALL) | (pl.col(name) <= -SMALL) for name in there}
    any_of = rows.select(is_large.any().alias(name) for name, is_large in found.items())
    return {name: is_large for name, is_large in found.items() if any_of[name].item()}


def _with_and_without_seldom(rows: pl.DataFrame) -> list[pl.DataFrame]:
    """Split rows into two frames: rows without values in rare columns, and all other rows."""
    present = {
        name: pl.col(name).is_not_null() if dtype == pl.String else pl.col(name).fill_null(0) != 0
        for name, dtype in rows.schema.items()
        if name not in _ALWAYS
    }
    shares = (
        rows.select(has_value.mean().alias(name) for name, has_value in present.items()).row(0, named=True)
        if rows.height
        else {}
    )
    seldom = [present[name] for name, share in shares.items() if 0 < share < _SELDOM]
    if not seldom:
        return [rows]
    has_it = rows.select(pl.any_horizontal(seldom)).to_series()
    return [rows.filter(~has_it), rows.filter(has_it)]


def _messages(rows: pl.DataFrame) -> list[bytes]:
    """Return rows as a single message, or as several messages if sketches make a single message too large."""
    filled = rows.select([name for name in rows.columns if _has_content(rows[name])])
    message = filled.write_ndjson().encode()
    if len(message) <= _MAX_BYTES or rows.height == 1:
        return [message]
    half = rows.height // 2
    return [*_messages(rows[:half]), *_messages(rows[half:])]


def _has_content(column: pl.Series) -> bool:
    # For the 500 rows in a message, a single query over all columns costs twice as much as a check of each column.
    if column.name in _ALWAYS:
        return True
    if column.dtype == pl.String:
        return column.null_count() < len(column)
    return bool((column != 0).any())
