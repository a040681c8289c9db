"""Folds hits and visits into rollup rows (journey step 5, rules §8 and §9).

Decides which measures a hit, an ordered item, a copy, a refusal or a visit adds to. This module also decides the cell
and the dimensions of each measure.

Data-quality measures count all hits, including excluded hits, and are stored in rows that are not marked as excluded
(rollup_rows).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import polars as pl

from hitmesh.model.amounts import as_rows
from hitmesh.model.amounts import sums as exact_sums
from hitmesh.model.arrays import BoolArray, I64Array
from hitmesh.model.hit_types import CartAction, HitType
from hitmesh.model.limits import CELL_MS, LATENESS_MS, LG_K_CELL
from hitmesh.model.reasons import HitFlag
from hitmesh.model.rows.expressions import as_type, constant, filled
from hitmesh.model.rows.rollup_rows import (
    HIT_DIMENSIONS,
    ROW_COLUMNS,
    TRAFFIC_DIMENSIONS,
    TRAFFIC_MEASURES,
    VISIT_DIMENSIONS,
    VISITS_DIMENSIONS,
    VISITS_MEASURES,
    RowSource,
    with_escaped_names,
)
from hitmesh.model.rows.stream_columns import MOVED_VISITORS
from hitmesh.model.sketches.unions import cell_sketches, exact_limit
from processor.rules.visits import VIEW_TYPES, Summaries

# The columns of contributions that distinguish a site-day's rows.
ROW_KEYS: Final = {
    RowSource.TRAFFIC: ("cell", "excluded", *TRAFFIC_DIMENSIONS),
    RowSource.VISITS: ("cell", "excluded", *VISITS_DIMENSIONS),
}
DIMS: Final = "dims"
# A single row without values.
_NOTHING: Final = pl.DataFrame({name: pl.Series([None], dtype=pl.String) for name in VISIT_DIMENSIONS})
_NUMBERED_KEYS: Final = {
    source: (*(name for name in key if name not in VISIT_DIMENSIONS), DIMS) for source, key in ROW_KEYS.items()
}
_ALL_MEASURES: Final = frozenset((*TRAFFIC_MEASURES, *VISITS_MEASURES, MOVED_VISITORS))
MEASURES: Final = {RowSource.TRAFFIC: TRAFFIC_MEASURES, RowSource.VISITS: VISITS_MEASURES}
_HIT_TYPE_NAMES: Final = {int(hit_type): hit_type.name for hit_type in HitType}
_WINNING_ORDER_MEASURES: Final = {
    "gross_revenue": "total",
    "tax": "tax",
    "shipping": "shipping",
    "discounts": "discount",
}
_MANY: Final = 20_000  # with more contributions, grouping part by part costs less than concatenating
_ITEM_DIMENSIONS: Final = {"product": "sku", "category": "category", "brand": "brand"}


@dataclass(frozen=True, slots=True)
class RowOwner:
    """The owner of rows: a site-day and its generation."""

    site: str
    day: int
    generation: int

    @property
    def columns(self) -> Mapping[str, str | int]:
        """The columns that have a single value in all rows of the site-day, each with its value."""
        return {"site": self.site, "day": self.day, "generation": self.generation}


def traffic_rows(
    owner: RowOwner,
    counted: pl.DataFrame,
    copies: pl.DataFrame,
    rejected: Mapping[int, int],
    lg_k: int = LG_K_CELL,
    texts: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Return the day's traffic rows, with `TRAFFIC_COLUMNS`.

    Args:
        owner: the owner of the rows.
        counted: the day's hits without copies, with the window columns, `wins_order`, and VISIT_DIMENSIONS of the hit's
            visit. If `texts` is given, the column `dims` replaces VISIT_DIMENSIONS.
        copies: the day's copies, with the window columns.
        rejected: the number of refused hits in each cell, according to their collect time.
        lg_k: log2 of the visitor sketches' size.
        texts: the VISIT_DIMENSIONS for each number `dims` (`numbered_dimensions`).
    """
    parts = hit_contributions(counted, TRAFFIC_DIMENSIONS if texts is None else (*HIT_DIMENSIONS, DIMS))
    others = [copy_contributions(copies, HIT_DIMENSIONS)] if copies.height else []
    if rejected:
        others.append(refusal_contributions(rejected))
    if texts is not None:
        others = [part.with_columns(pl.lit(0, pl.Int64).alias(DIMS)) for part in others]
    parts += others
    if sum(part.height for part in parts) < _MANY:
        parts = [pl.concat(parts, how="diagonal").rechunk()]
    return folded_rows(RowSource.TRAFFIC, owner, parts, lg_k, texts)


def numbered_dimensions(dimensions: pl.DataFrame) -> tuple[I64Array, pl.DataFrame]:
    """Return a number for each row (n,), and the VISIT_DIMENSIONS for which each number stands.

    Rows with equal VISIT_DIMENSIONS get the same number. Number 0 stands for rows without a value in any of these
    dimensions. Grouping takes half the time if a single number replaces eleven of a row's twenty dimensions.
    """
    rows = pl.concat([_NOTHING, dimensions[list(VISIT_DIMENSIONS)]]).rechunk().with_row_index("row")
    groups = rows.group_by(_with_values(rows, VISIT_DIMENSIONS)).agg(pl.col("row"))
    of_group = groups["row"].explode().to_numpy()
    numbers = np.empty(rows.height, np.int64)
    numbers[of_group] = np.repeat(np.arange(groups.height), groups["row"].list.len().to_numpy())
    swapped = np.arange(groups.height)
    swapped[[0, numbers[0]]] = swapped[[numbers[0], 0]]
    firsts = groups["row"].list.first().to_numpy()[swapped]
    return swapped[numbers[1:]], rows[list(VISIT_DIMENSIONS)][firsts]


def _with_values(rows: pl.DataFrame, names: Sequence[str]) -> list[str]:
    """Return the columns except text columns that are null in all rows, because most traffic has few dimensions."""
    there = [name for name in names if name in rows.columns]
    kept = [name for name in there if rows.schema[name] != pl.String or rows[name].null_count() < rows.height]
    return kept or [names[0]]


def folded_rows(
    source: RowSource,
    owner: RowOwner,
    parts: Iterable[pl.DataFrame],
    lg_k: int = LG_K_CELL,
    texts: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Return the rows for contributions that are given in parts. Only one part is in memory at a time.

    Args:
        source: the row source.
        owner: the owner of the rows.
        parts: contributions of hits, copies, refusals or visits; at least one part. A column without values may be
            missing. At least one part must have `visitor`.
        lg_k: log2 of the visitor sketches' size.
        texts: the VISIT_DIMENSIONS for each number `dims`, if the parts have `dims` in place of VISIT_DIMENSIONS.
    """
    key = ROW_KEYS[source] if texts is None else _NUMBERED_KEYS[source]
    partial = [_summed(part, key, source) for part in parts]
    together = partial[0] if len(partial) == 1 else _summed(pl.concat(partial, how="diagonal").rechunk(), key, source)
    if source is RowSource.TRAFFIC:
        sketches = visitor_sketches(together["visitor"], lg_k)
        together = together.with_columns(sketches, hit_type_name()).drop("visitor")
    if texts is not None:
        together = with_texts(together, texts)
    return complete_rows(as_rows(together), owner.columns, ROW_COLUMNS[source])


def hit_contributions(counted: pl.DataFrame, dimensions: Sequence[str]) -> list[pl.DataFrame]:
    """Return the contributions of counted hits to traffic rows. Each frame omits measures that are 0 in all its rows.

    Args:
        counted: hits without copies, with the columns in `dimensions`, the window columns and `wins_order`.
        dimensions: the columns that distinguish rows. An item's own dimensions replace the hit's dimensions. `hit_type`
            is not replaced by its name.

    Returns:
        Frames with cell, excluded, dimensions, measures and `visitor`. For interactive hits, `visitor` is visitor_lo;
        for other hits, it is null.
    """
    parts = [_hits(counted, dimensions)]
    if counted["excluded"].any():
        parts.append(_quality_of_excluded(counted, dimensions))
    if counted["wins_order"].any():
        parts.append(_items(counted, dimensions))
    return parts


def visits_rows(owner: RowOwner, contributions: pl.DataFrame, texts: pl.DataFrame | None = None) -> pl.DataFrame:
    """Return the rows (`VISITS_COLUMNS`) that add up the contributions of visits that start on the owner's day.

    `texts` is as in `traffic_rows`.
    """
    return folded_rows(RowSource.VISITS, owner, [contributions], texts=texts)


def visit_contributions(
    visits: Summaries, hits: pl.DataFrame, dimensions: pl.DataFrame, order_visits: BoolArray
) -> pl.DataFrame:
    """Return the contributions of visits. A visit contributes to the cell in which the visit starts.

    Args:
        visits: the visits (m,); a visit that has not ended contributes its values so far.
        hits: the rows to which the summaries' row numbers refer: excluded and page_path.
        dimensions: each visit's hostname and VISIT_DIMENSIONS, or the number `dims` in their place (m,).
        order_visits: whether each visit contains an order that counts (m,).
    """
    viewed = visits.views > 0
    exits = (
        pl.Series(visits.exit)
        .to_frame("row")
        .with_columns(pl.when(pl.col("row") >= 0).then(pl.col("row")).alias("row"))["row"]
    )
    return dimensions.with_columns(
        pl.Series("cell", visits.start - visits.start % CELL_MS),
        hits["excluded"].gather(visits.first).alias("excluded"),
        hits["page_path"].gather(exits).alias("exit_page"),
        pl.lit(1, pl.Int64).alias("visits"),
        pl.Series("bounces", (visits.interactive_hits == 1).astype(np.int64)),
        pl.Series("visit_duration_total", visits.last - visits.start),
        pl.Series("visit_views", visits.views),
        pl.Series("entries", viewed.astype(np.int64)),
        pl.Series("exits", viewed.astype(np.int64)),
        pl.Series("order_visits", order_visits.astype(np.int64)),
    )


def _hits(counted: pl.DataFrame, dimensions: Sequence[str]) -> pl.DataFrame:
    """Return each hit's contribution to its row. The data-quality measures of excluded hits are left out."""
    return counted.select(_contributions(tuple(dimensions)))


@cache
def _contributions(dimensions: tuple[str, ...]) -> list[pl.Expr]:
    """Return the expressions of `_hits`, which are built once per process."""
    hit_type = pl.col("hit_type")
    wins = pl.col("wins_order")
    included = ~pl.col("excluded")
    flags = pl.col("flags")
    measures = {
        "hits": pl.lit(value=True),
        "pageviews": hit_type.is_in(VIEW_TYPES),
        "events": hit_type == HitType.EVENT,
        "product_views": hit_type == HitType.PRODUCT_VIEW,
        "cart_adds": (hit_type == HitType.CART_UPDATE) & (pl.col("cart_action") == CartAction.ADD),
        "checkouts_started": (hit_type == HitType.CHECKOUT_STEP) & (pl.col("checkout_step") == 1),
        "orders": wins,
        **{name: pl.when(wins).then(pl.col(column)) for name, column in _WINNING_ORDER_MEASURES.items()},
        "refunds": pl.when(hit_type == HitType.REFUND).then(pl.col("refund_amount")),
        "late_hits": included & _is_late(),
        "clock_skewed_hits": included & (flags & int(HitFlag.CLOCK_SKEW) != 0),
    }
    return [
        *_hit_key(dimensions),
        pl.col("excluded"),
        *(expression.cast(pl.Int64).fill_null(0).alias(name) for name, expression in measures.items()),
        pl.when(pl.col("interactive")).then(pl.col("visitor_lo")).alias("visitor"),
    ]


def _quality_of_excluded(counted: pl.DataFrame, dimensions: Sequence[str]) -> pl.DataFrame:
    """Return the data-quality measures of excluded hits.

    The data-quality measures belong to rows that are not marked as excluded.
    """
    flags = pl.col("flags")
    measures = {
        "excluded_hits": pl.lit(value=True),
        "bot_hits": flags & int(HitFlag.BOT_UA) != 0,
        "late_hits": _is_late(),
        "clock_skewed_hits": flags & int(HitFlag.CLOCK_SKEW) != 0,
    }
    names = list(dict.fromkeys(("event_time", "log_time", "flags", *dimensions)))
    return (
        counted.select(names)
        .filter(counted["excluded"])
        .select(
            *_hit_key(dimensions),
            pl.lit(value=False).alias("excluded"),
            *(expression.cast(pl.Int64).alias(name) for name, expression in measures.items()),
        )
    )


def _items(counted: pl.DataFrame, dimensions: Sequence[str]) -> pl.DataFrame:
    """Return the contributions of items in winning orders. Each item has its own product, category and brand."""
    ordered = counted.filter(pl.col("wins_order") & (pl.col("items").list.len() > 0))
    item = pl.col("items").struct
    return (
        ordered.select(*_hit_key(dimensions), "excluded", "items")
        .explode("items")
        .with_columns(
            *(item.field(field).alias(name) for name, field in _ITEM_DIMENSIONS.items()),
            item.field("quantity").fill_null(0).alias("items_sold"),
            (item.field("unit_price") * item.field("quantity")).fill_null(0).alias("item_revenue"),
        )
        .drop("items")
    )


def copy_contributions(copies: pl.DataFrame, dimensions: Sequence[str]) -> pl.DataFrame:
    """Return the contributions of copies. A copy has no visit, so its row has the copy's own dimensions."""
    return copies.select(
        *_hit_key(dimensions),
        pl.lit(value=False).alias("excluded"),
        pl.lit(1, pl.Int64).alias("duplicate_hits"),
    )


def refusal_contributions(rejected: Mapping[int, int]) -> pl.DataFrame:
    """Return the contributions of refused hits.

    A refused hit belongs to the cell of its collect time. A refused hit has no dimensions.
    """
    cells = pl.DataFrame(
        {"cell": list(rejected), "rejected_hits": list(rejected.values())},
        schema={"cell": pl.Int64, "rejected_hits": pl.Int64},
    )
    return cells.with_columns(pl.lit(value=False).alias("excluded"))


def _is_late() -> pl.Expr:
    """Return an expression that states whether a hit's log time is more than an hour after its event time (rule T4)."""
    return pl.col("log_time") - pl.col("event_time") > LATENESS_MS


def _hit_key(dimensions: Sequence[str]) -> Iterable[pl.Expr]:
    """Return the expressions for cell and dimensions."""
    yield (pl.col("event_time") - pl.col("event_time") % CELL_MS).alias("cell")
    yield from map(pl.col, dimensions)


def hit_type_name() -> pl.Expr:
    """Return an expression that maps the number in `hit_type` to its name."""
    return pl.col("hit_type").replace_strict(_HIT_TYPE_NAMES, default=None, return_dtype=pl.String)


def with_texts(rows: pl.DataFrame, texts: pl.DataFrame) -> pl.DataFrame:
    """Return the rows, with VISIT_DIMENSIONS in place of their number `dims`."""
    return rows.drop(DIMS).hstack(texts[rows[DIMS]])


def _summed(contributions: pl.DataFrame, key: Sequence[str], source: RowSource) -> pl.DataFrame:
    """Return one row per key, with the sums of the contributions that have the key.

    The input may also be rows from an earlier call of this function. Each row of traffic keeps a list of its visitors.
    A dimension without values may be missing.
    """
    there = [name for name in MEASURES[source] if name in contributions.columns]
    sums = [name for name in there if (contributions[name] != 0).any()]
    visitors = []
    if source is RowSource.TRAFFIC:
        kind = contributions.schema.get("visitor")
        visitors = [pl.col("visitor").explode()] if kind == pl.List(pl.UInt64) else [pl.col("visitor")] if kind else []
    return contributions.group_by(_with_values(contributions, key)).agg(*exact_sums(sums), *visitors)


def visitor_sketches(visitors: pl.Series, lg_k: int = LG_K_CELL) -> pl.Series:
    """Return a sketch of size 2**`lg_k` for each list of visitors, or null for a list without values."""
    groups = np.repeat(np.arange(len(visitors)), visitors.list.len().to_numpy())
    keys = visitors.explode()
    known = keys.is_not_null().to_numpy()
    groups, present = groups[known], keys.drop_nulls().to_numpy()
    counts = np.bincount(groups, minlength=len(visitors))
    if counts.max(initial=0) > exact_limit(lg_k):
        order = np.lexsort((present, groups))  # the sample in a sketch must not depend on the order of arrival (P1)
        groups, present = groups[order], present[order]
    made = cell_sketches(present, groups, len(visitors), lg_k)
    sketches = pl.Series("visitors", pl.from_arrow(made), pl.Binary)
    return pl.select(pl.when(pl.Series(counts > 0)).then(sketches).alias("visitors")).to_series()


def complete_rows(
    folded: pl.DataFrame, fixed: Mapping[str, str | int], columns: Mapping[str, pl.DataType]
) -> pl.DataFrame:
    """Return the rows with all `columns`. Fill in missing dimensions and measures, and escape reserved words."""
    return with_escaped_names(filled_rows(folded, fixed, columns))


def filled_rows(
    folded: pl.DataFrame, fixed: Mapping[str, str | int], columns: Mapping[str, pl.DataType]
) -> pl.DataFrame:
    """Return the rows with all `columns`, and fill in missing dimensions and measures."""
    there = frozenset(folded.columns)
    return folded.select(
        pl.lit(fixed[name]).cast(dtype).alias(name) if name in fixed else _filled(name, dtype, is_there=name in there)
        for name, dtype in columns.items()
    )


def _filled(name: str, dtype: pl.DataType, *, is_there: bool) -> pl.Expr:
    if name in _ALL_MEASURES:
        return filled(name, dtype, 0) if is_there else constant(name, dtype, 0)
    return as_type(name, dtype) if is_there else constant(name, dtype, None)
