"""The columns of Druid's data sources beside those of rows (rollup_rows): what makes rows and marks findable.

`presence` is a linear combination of a row's counts, so that it adds up like them; every count is at least 0 in the net
of a key, so a key or a group has presence 0 exactly when its rows come to nothing.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from hitmesh.model.rows.rollup_rows import AMOUNT_MEASURES, AMOUNT_SUM, TRAFFIC_DIMENSIONS, VISITS_DIMENSIONS, RowSource
from hitmesh.model.rows.stream_columns import STREAM_MEASURES

TIME: Final = "t"  # of the row that is sent; Druid calls it __time
PRESENCE: Final = "presence"
SENT: Final = "sent"  # 1 for every row that was sent: Druid folds rows of the same key
MARK: Final = "mark"
MARK_OFFSET: Final = "mark_offset"
MARK_LOG_TIME: Final = "mark_log_time"

# Druid's own sums wrap at 2^63 when it folds rows and when it answers. So an amount that is not small is sent in two
# columns: amount = low + high × 2^32, 0 <= low < 2^32. A key has at most as many rows as there are windows while its
# day is open, below 2^23, so neither half leaves an int64 where rows are folded. What an answer adds up is told from
# a sum of doubles beside the sum of lows. Rows that were sent before there was a high column have none.
SMALL: Final = 1 << 40
HALF: Final = 1 << 32
HIGH: Final = {name: f"{name}_high" for name in AMOUNT_MEASURES}
ABOUT: Final = {name: f"{name}_about" for name in AMOUNT_MEASURES}

DIMENSIONS: Final = {RowSource.TRAFFIC: TRAFFIC_DIMENSIONS, RowSource.VISITS: VISITS_DIMENSIONS}
# By which rows are sorted, behind time and site, in segments as in messages. Columns that tell most rows apart come
# first, so that few are compared.
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
    source: (*own, *(HIGH[name] for name in own if name in HIGH)) for source, own in STREAM_MEASURES.items()
}
# Counts of hits or visits: never negative in the net. Money is not among them, and neither are durations, which count
# nothing that is not counted here.
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
    """Returns rows or sums of rows with amounts as one column each again, Int128, as what is in no row is 0.

    Where there is a sum of doubles of the low halves (`ABOUT`), it says how often their exact sum has wrapped: it is
    off by far less than half of 2^64 for any number of rows that Druid can hold.
    """
    amounts = [name for name, high in HIGH.items() if high in rows.columns]
    return rows.with_columns(
        (_low(name, ABOUT[name] in rows.columns) + _wide(HIGH[name]) * HALF).alias(name) for name in amounts
    ).drop(one[name] for one in (HIGH, ABOUT) for name in amounts if one[name] in rows.columns)


def _low(name: str, is_about_known: bool) -> pl.Expr:
    if not is_about_known:
        return _wide(name)
    low = pl.col(name).fill_null(0)
    wraps = ((pl.col(ABOUT[name]).fill_null(0.0) - low.cast(pl.Float64)) / float(_WRAP)).round()
    return _wide(name) + wraps.cast(AMOUNT_SUM) * pl.lit(_WRAP, AMOUNT_SUM)


def _wide(name: str) -> pl.Expr:
    return pl.col(name).fill_null(0).cast(AMOUNT_SUM)
