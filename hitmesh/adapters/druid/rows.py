"""Step 6 of the journey towards Druid: rows and marks as newline-separated JSON (architecture §4).

Decides what a message holds: up to 500 rows in the order of segments, columns that say nothing left out, sketches in
base64. Rows are written as columns by polars; nothing here looks at a single row.
"""

from __future__ import annotations

from typing import Final

import orjson
import polars as pl

from hitmesh.adapters.druid.columns import (
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
from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.rows.rollup_rows import TRAFFIC_SKETCHES, RowSource
from hitmesh.model.rows.stream_columns import STREAM_GENERATION, STREAM_MEASURES
from hitmesh.model.zones import DAY_MS

MAX_ROWS: Final = 500
_MAX_BYTES: Final = 4 << 20  # a sketch is at most 32 KiB; a message is below 8 MiB
# A column that says something in fewer rows than this is kept out of the messages of all others.
_SELDOM: Final = 0.25
_ALWAYS: Final = (TIME, "site", "generation", "excluded", SENT)  # in every message


def encoded(rows: pl.DataFrame, source: RowSource) -> list[bytes]:
    """Returns rows as messages of up to 500 lines of JSON, sorted like segments: Druid sorts them again, at less cost.

    Rows that have what few rows have come last, so that the others go without those columns.

    Args:
        rows: columns of hitmesh.model.rows.rollup_rows, or those of the stream, which has one more measure.
        source: which rows they are.

    Raises:
        ValueError: a row's cell is not in its day; questions find rows by the day of their cell.
    """
    if (rows["cell"] // DAY_MS != rows["day"]).any():
        raise ValueError("a row's cell is in another UTC day than its own")
    sent = _as_sent(rows, source).sort(TIME, "site", *SORTED[source], maintain_order=True)
    return [
        message
        for part in _with_and_without_seldom(sent)
        for first in range(0, part.height, MAX_ROWS)
        for message in _messages(part[first : first + MAX_ROWS])
    ]


def encoded_mark(partition: PartitionId, progress: PartitionProgress) -> bytes:
    """Returns the mark that says: all rows of this partition of the log before this position were sent before."""
    return orjson.dumps(
        {
            TIME: progress.log_time - progress.log_time % DAY_MS,
            MARK: mark_of(partition),
            MARK_OFFSET: progress.next_offset,
            MARK_LOG_TIME: progress.log_time,
        }
    )


def mark_of(partition: PartitionId) -> str:
    """Returns the name of a partition in marks."""
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
        # A settled row is there once, and for good; rows of the stream may come to nothing together.
        (pl.sum_horizontal(COUNTS[source]) + (pl.col("generation") != STREAM_GENERATION)).alias(PRESENCE),
        pl.lit(1).alias(SENT),
        *(pl.col(name).bin.encode("base64") for name in sketches),
    )


def _large_amounts(rows: pl.DataFrame) -> dict[str, pl.Expr]:
    """Returns the amounts that some row has too much of for one column, and which rows those are."""
    there = [name for name in HIGH if name in rows.columns]
    found = {name: (pl.col(name) >= SMALL) | (pl.col(name) <= -SMALL) for name in there}
    any_of = rows.select(one.any().alias(name) for name, one in found.items())
    return {name: one for name, one in found.items() if any_of[name].item()}


def _with_and_without_seldom(rows: pl.DataFrame) -> list[pl.DataFrame]:
    """Returns rows without what few rows have, and those that have it."""
    says = {
        name: pl.col(name).is_not_null() if dtype == pl.String else pl.col(name).fill_null(0) != 0
        for name, dtype in rows.schema.items()
        if name not in _ALWAYS
    }
    shares = rows.select(one.mean().alias(name) for name, one in says.items()).row(0, named=True) if rows.height else {}
    seldom = [says[name] for name, share in shares.items() if 0 < share < _SELDOM]
    if not seldom:
        return [rows]
    has_it = rows.select(pl.any_horizontal(seldom)).to_series()
    return [rows.filter(~has_it), rows.filter(has_it)]


def _messages(rows: pl.DataFrame) -> list[bytes]:
    """Returns rows as one message; as several where sketches make it too large."""
    said = rows.select([name for name in rows.columns if _says_something(rows[name])])
    message = said.write_ndjson().encode()
    if len(message) <= _MAX_BYTES or rows.height == 1:
        return [message]
    half = rows.height // 2
    return [*_messages(rows[:half]), *_messages(rows[half:])]


def _says_something(column: pl.Series) -> bool:
    # Asked of one column after the other: for a message's 500 rows a query of all of them costs twice as much.
    if column.name in _ALWAYS:
        return True
    if column.dtype == pl.String:
        return column.null_count() < len(column)
    return bool((column != 0).any())
