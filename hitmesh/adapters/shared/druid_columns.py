"""The columns that Druid's data sources have in addition to the row columns (hitmesh.model.rows.rollup_rows).

Queries use these columns to find rows and progress marks. `presence` is the sum of a row's counts, plus 1 in settled
rows. Values of `presence` can therefore be added up like counts. A count, summed over all rows of a key, is never
negative. The rows of a key, or of a group of keys, therefore cancel out exactly when the sum of `presence` is 0.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from hitmesh.model.rows.rollup_rows import AMOUNT_MEASURES, AMOUNT_SUM, TRAFFIC_DIMENSIONS, VISITS_DIMENSIONS, RowSource
from hitmesh.model.rows.stream_columns import STREAM_MEASURES

TIME: Final = "t"  # the column's name in a sent row; Druid renames the column to __time
PRESENCE: Final = "presence"
SENT: Final = "sent"  # every sent row has the value 1, so the sum counts sent rows even after Druid has folded rows
MARK: Final = "mark"
MARK_OFFSET: Final = "mark_offset"
MARK_LOG_TIME: Final = "mark_log_time"

# Druid's int64 sums wrap around at 2^63, both when Druid folds rows and when Druid answers a query. A large amount is
# therefore sent in two columns: amount = low + high × 2^32, 0 <= low < 2^32. The stream sends at most one row per key
# and window, and only while the key's day is open. A key therefore has fewer than 2^23 rows, so neither half overflows
# int64 when the rows are folded. An answer contains two sums of the low halves: an int64 sum and a floating-point sum.
# The difference between the two sums shows how often the int64 sum has wrapped. Rows that earlier versions of hitmesh
# sent have no high column.
SMALL: Final = 1 << 40
HALF: Final = 1 << 32
HIGH: Final = {name: f"{name}_high" for name in AMOUNT_MEASURES}
ABOUT: Final = {name: f"{name}_about" for name in AMOUNT_MEASURES}

DIMENSIONS: Final = {RowSource.TRAFFIC: TRAFFIC_DIMENSIONS, RowSource.VISITS: VISITS_DIMENSIONS}
# The columns by which rows are sorted in segments and messages, after time and site. The most selective columns come
# first, so that few comparisons are needed.
SORTED: Final = {
    RowSource.TRAFFIC: (
        *("page_path", "landing_page", "hit_type", "language", "os", "browser", "source", "campaign", "referrer_host"),
        *("country", "device_type", "channel", "medium", "event_name", "product", "category", "brand", "currency"),
        "hostname",
    ),
    RowSource.VISITS: (
        *("landing_page", "exit_page", "language", "os", "browser", "source", "campaign", "referrer_host"),
        *("country", "device_type", "channel", "medium", "hostname"),
    ),
}
MEASURES: Final = {
    source: (*measures, *(HIGH[name] for name in measures if name in HIGH))
    for source, measures in STREAM_MEASURES.items()
}
# The measures that count hits or visits; their sums over all rows of a key are never negative. Amounts are left out,
# because amounts may be negative. Durations are left out, because a row with a duration also counts a visit.
COUNTS: Final = {
    RowSource.TRAFFIC: (
        "hits",
        "pageviews",
        "events",
        "product_views",
        "cart_adds",
        "checkouts_started",
        "orders",
        "items_sold",
        "bot_hits",
        "excluded_hits",
        "duplicate_hits",
        "rejected_hits",
        "late_hits",
        "clock_skewed_hits",
    ),
    RowSource.VISITS: ("visits", "bounces", "visit_views", "entries", "exits", "order_visits"),
}

_WRAP: Final = 1 << 64


def whole_amounts(rows: pl.DataFrame) -> pl.DataFrame:
    """Join the two halves of each amount into a single Int128 column.

    `rows` has rows or sums of rows; a null half counts as 0. If the input also has floating-point sums (the columns
    `ABOUT`), int64 sums that have wrapped are corrected. The floating-point error stays far below 2^63 for any number
    of rows that Druid can hold.
    """
    amounts = [name for name, high in HIGH.items() if high in rows.columns]
    return rows.with_columns(
        (_low(name, ABOUT[name] in rows.columns) + _wide(HIGH[name]) * HALF).alias(name) for name in amounts
    ).drop(column_of[name] for column_of in (HIGH, ABOUT) for name in amounts if column_of[name] in rows.columns)


def _low(name: str, is_about_known: bool) -> pl.Expr:
    if not is_about_known:
        return _wide(name)
    low = pl.col(name).fill_null(0)
    wraps = ((pl.col(ABOUT[name]).fill_null(0.0) - low.cast(pl.Float64)) / float(_WRAP)).round()
    return _wide(name) + wraps.cast(AMOUNT_SUM) * pl.lit(_WRAP, AMOUNT_SUM)


def _wide(name: str) -> pl.Expr:
    return pl.col(name).fill_null(0).cast(AMOUNT_SUM)
