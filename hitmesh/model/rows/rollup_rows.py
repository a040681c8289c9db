"""The rows that settlement writes and reports read: a single schema for every metric store (architecture §4).

There are two row sources: rows of `traffic` measure hits, and rows of `visits` measure visits. A hit counts in its own
cell, with the dimensions of the hit and of the hit's visit. A visit counts in the cell in which the visit starts.
Measures are Int64 and additive; the sketch is a compact theta sketch of visitor keys (hitmesh.model.sketches.unions).
Each key has one row; if an amount is beyond an Int64, the key has further rows (hitmesh.model.amounts:as_rows). A null
dimension means "(not set)".

The data-quality measures (bot_hits to clock_skewed_hits) count all hits, including excluded hits. The data-quality
counts are stored only in rows that are not excluded. Every report therefore includes all data-quality counts, and a
report with include_excluded does not count any hit twice.
"""

from __future__ import annotations

from enum import StrEnum

import polars as pl


class RowSource(StrEnum):
    """The two row sources."""

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

# Dimensions whose texts clients choose freely. The stream counts texts beyond a limit as FOLDED (rule S10).
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
    "item_revenue",  # in micros, like all amounts
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
# Measures in micros, whose sums may be beyond an int64 (hitmesh.model.amounts).
AMOUNT_MEASURES = ("item_revenue", "gross_revenue", "refunds", "tax", "shipping", "discounts")
AMOUNT_SUM = pl.Int128()
# Theta sketch of visitor_lo over interactive hits; null in rows without interactive hits.
TRAFFIC_SKETCHES = ("visitors",)


def sum_type(measure: str) -> pl.DataType:
    """Return the type of a measure's sums; in stored rows, every measure is Int64.

    Example:
        >>> sum_type("orders"), sum_type("gross_revenue")  # rule M1
        (Int64, Int128)
    """
    return AMOUNT_SUM if measure in AMOUNT_MEASURES else pl.Int64()


# The texts that answers show for a null, for a missing source and for a remainder (rules §9). If a client sends a
# reserved text as a value, the value gets a backslash in front. A report can thus distinguish the client's value from
# the reserved text. A value that already looks escaped gets one more backslash.
_RESERVED = r"^\\*\((?:not set|direct|other)\)$"
# The stream uses FOLDED in place of texts beyond a limit (rule S10). No client can send the text FOLDED. Stored rows
# have OTHER in place of FOLDED.
FOLDED = "\0\x1f"
OTHER = "(other)"


def with_escaped_names(rows: pl.DataFrame) -> pl.DataFrame:
    r"""Return the rows with two changes in every dimension: reserved texts are escaped, and FOLDED becomes OTHER.

    Example:
        >>> sent = pl.DataFrame({"campaign": ["may", "(not set)", None, FOLDED]})
        >>> with_escaped_names(sent)["campaign"].to_list()  # rules §9, S10
        ['may', '\\(not set)', None, '(other)']
    """
    texts = [
        name
        for name, dtype in rows.schema.items()
        if dtype == pl.String and name != "site" and rows[name].null_count() < rows.height
    ]
    if not texts:
        return rows
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
