"""The columns of Druid's data sources beside those of rows (hitmesh.rollup_rows): what makes rows and marks findable.

`presence` is a linear combination of a row's counts, so that it adds up like them; every count is at least 0 in the net
of a key, so a key or a group has presence 0 exactly when its rows come to nothing.
"""

from __future__ import annotations

from typing import Final

from hitmesh.rollup_rows import TRAFFIC_DIMENSIONS, VISITS_DIMENSIONS, RowSource
from hitmesh.stream_columns import STREAM_MEASURES

TIME: Final = "t"  # of the row that is sent; Druid calls it __time
PRESENCE: Final = "presence"
SENT: Final = "sent"  # 1 for every row that was sent: Druid folds rows of the same key
MARK: Final = "mark"
MARK_OFFSET: Final = "mark_offset"
MARK_LOG_TIME: Final = "mark_log_time"

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
MEASURES: Final = STREAM_MEASURES
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
