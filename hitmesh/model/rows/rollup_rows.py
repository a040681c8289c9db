"""The rows that settlement writes and reports read: one schema for every metric store (decision §4, two sources).

`traffic` holds hit-scope measures in the hit's cell, with the dimensions of the hit and its visit; `visits` holds
visit-scope measures in the cell where the visit starts. Sums are Int64 and additive; the sketch is a compact theta of
visitor keys (hitmesh.model.sketches.unions). A key has one row, and further rows when an amount is beyond an Int64
(hitmesh.model.amounts:as_rows). Null dimension = "(not set)".

Data-quality measures (bot_hits … clock_skewed_hits) count over all hits but are stored only in rows of non-excluded
hits, so a report shows them whether or not include_excluded is set, and including excluded rows never counts them
twice.
"""

from __future__ import annotations

from enum import StrEnum

import polars as pl


class RowSource(StrEnum):
    """The two kinds of rows."""

    TRAFFIC = "traffic"
    VISITS = "visits"


VISIT_DIMENSIONS = (
    "channel",
    "source",
    "medium",
    "campaign",
    "referrer_host",
    "landing_page",
    "device_type",
    "browser",
    "os",
    "language",
    "country",
)
HIT_DIMENSIONS = (
    "page_path",
    "hostname",
    "hit_type",
    "event_name",
    "product",
    "category",
    "brand",
    "currency",
)
TRAFFIC_DIMENSIONS = (*HIT_DIMENSIONS, *VISIT_DIMENSIONS)
VISITS_DIMENSIONS = ("hostname", "exit_page", *VISIT_DIMENSIONS)

# Dimensions whose texts clients choose freely; the stream may fold their texts (rule S10).
TEXT_DIMENSIONS = (
    "page_path",
    "hostname",
    "event_name",
    "product",
    "category",
    "brand",
    "source",
    "medium",
    "campaign",
    "referrer_host",
    "landing_page",
    "exit_page",
    "language",
    "country",
)

TRAFFIC_MEASURES = (
    "hits",
    "pageviews",
    "events",
    "product_views",
    "cart_adds",
    "checkouts_started",
    "item_revenue",  # micros, like all money here
    "orders",
    "items_sold",
    "gross_revenue",
    "refunds",
    "tax",
    "shipping",
    "discounts",
    "bot_hits",
    "excluded_hits",
    "duplicate_hits",
    "rejected_hits",
    "late_hits",
    "clock_skewed_hits",
)
VISITS_MEASURES = (
    "visits",
    "bounces",
    "visit_duration_total",  # ms
    "visit_views",
    "entries",
    "exits",
    "order_visits",
)
# Micros: a sum may be beyond an int64 (hitmesh.model.amounts).
AMOUNT_MEASURES = ("item_revenue", "gross_revenue", "refunds", "tax", "shipping", "discounts")
AMOUNT_SUM = pl.Int128()
# Theta of visitor_lo over interactive hits; null in rows without interactive hits.
TRAFFIC_SKETCHES = ("visitors",)


def sum_type(measure: str) -> pl.DataType:
    """Return the type of a measure's sums; in rows every measure is Int64.

    Example:
        >>> sum_type("orders"), sum_type("gross_revenue")  # rule M1
        (Int64, Int128)
    """
    return AMOUNT_SUM if measure in AMOUNT_MEASURES else pl.Int64()


# The names for a null, no source and a remainder in answers (rules §9). When a client sends such a name as a value, a
# backslash is put in front, so that the two stay distinct in a report; a value that already looks escaped gets another
# backslash.
_RESERVED = r"^\\*\((?:not set|direct|other)\)$"
# Replaces texts beyond a limit in the stream (rule S10); no client can send this value. In rows it is the remainder.
FOLDED = "\0\x1f"
OTHER = "(other)"


def with_escaped_names(rows: pl.DataFrame) -> pl.DataFrame:
    r"""Return the rows with reserved words escaped and FOLDED as OTHER in dimensions; both are rare.

    Example:
        >>> sent = pl.DataFrame({"campaign": ["may", "(not set)", None, FOLDED]})
        >>> with_escaped_names(sent)["campaign"].to_list()  # rules §9, S10
        ['may', '\\(not set)', None, '(other)']
    """
    texts = [name for name, dtype in rows.schema.items() if dtype == pl.String and name != "site"]
    begins = pl.col(texts).str
    suspect = rows.select((begins.starts_with("(") | begins.starts_with("\\") | begins.starts_with(FOLDED)).any()).row(
        0
    )
    found = [pl.col(name) for name, present in zip(texts, suspect, strict=True) if present]
    return rows.with_columns(
        pl.when(value.str.contains(_RESERVED))
        .then(pl.lit("\\") + value)
        .when(value == FOLDED)
        .then(pl.lit(OTHER))
        .otherwise(value)
        .name.keep()
        for value in found
    )


_KEY: dict[str, pl.DataType] = {
    "site": pl.String(),
    "day": pl.Int32(),  # UTC days since 1970-01-01
    "generation": pl.Int64(),
    "cell": pl.Int64(),  # UTC ms of the cell's start
    "excluded": pl.Boolean(),
}
TRAFFIC_COLUMNS: dict[str, pl.DataType] = {
    **_KEY,
    **dict.fromkeys(TRAFFIC_DIMENSIONS, pl.String()),
    **dict.fromkeys(TRAFFIC_MEASURES, pl.Int64()),
    **dict.fromkeys(TRAFFIC_SKETCHES, pl.Binary()),
}
VISITS_COLUMNS: dict[str, pl.DataType] = {
    **_KEY,
    **dict.fromkeys(VISITS_DIMENSIONS, pl.String()),
    **dict.fromkeys(VISITS_MEASURES, pl.Int64()),
}
ROW_COLUMNS: dict[RowSource, dict[str, pl.DataType]] = {
    RowSource.TRAFFIC: TRAFFIC_COLUMNS,
    RowSource.VISITS: VISITS_COLUMNS,
}
