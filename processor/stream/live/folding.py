"""Folds a site's distinct texts beyond an hourly limit into `(other)` (journey step 5, rule S10).

Decides which texts of a site are kept, and which texts become `(other)`. A hit's weight is the maximum number of texts
that the hit can contain. The weights of a site's hits in an hour of log time are added up. While the sum of the weights
is at most the limit, no text is inspected. The first inspected hit is the hit with which the sum exceeds the limit.
From the first inspected hit onwards, the first distinct texts in log order are kept, up to the limit. Every further
text becomes `(other)`. A text is kept or folded for the whole hour and in every column. The result therefore does not
depend on how records are divided into steps. If hits are read again, they are folded in the same way. Texts are
compared directly, never by hash.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Final

import numpy as np
import polars as pl

from hitmesh.model.arrays import BoolArray, I64Array
from hitmesh.model.cells import HOUR_MS
from hitmesh.model.rows.rollup_rows import FOLDED
from processor.stream.live.limits import PRODUCTION, Limits

# A client may fill these columns with any number of distinct texts. Other columns have few distinct values.
FOLDED_COLUMNS: Final = (
    "hostname",
    "page_path",
    "campaign",
    "language",
    "country",
    "source",
    "medium",
    "referrer_host",
    "event_name",
    "product",
    "category",
    "brand",
)
_ITEM_FIELDS: Final = ("sku", "category", "brand")
_SCHEMA: Final = {
    "hour": pl.Int64(),
    "site": pl.Int32(),
    "weight": pl.Int64(),
    "offset": pl.Int64(),
    "row": pl.Int64(),
    "texts": pl.List(pl.String()),
}


@dataclass(slots=True)
class _Known:
    """The texts that a site keeps in an hour, beginning with the first inspected hit.

    Attributes:
        offset: the offset of the record with the first inspected hit.
        row: the first inspected hit's row in that record.
        texts: the texts that are not folded, as the keys of a dict.
        series: `texts` as a Series, once the number of texts has reached the limit.
    """

    offset: int
    row: int
    texts: dict[str, None] = field(default_factory=dict)
    series: pl.Series | None = None


class FoldedTexts:
    """The texts that are kept, and not folded into `(other)`, for each site and hour of log time.

    Args:
        limits: `texts_per_hour` is the maximum number of distinct texts per site.
    """

    def __init__(self, limits: Limits = PRODUCTION) -> None:
        self._limit = limits.texts_per_hour
        self._weights: dict[int, I64Array] = {}
        self._known: dict[tuple[int, int], _Known] = {}

    def take(self, rows: pl.DataFrame, log_time: int) -> pl.DataFrame:
        """Return the hits, with `(other)` in place of texts beyond the limit.

        Args:
            rows: hits (KEPT_COLUMNS) from one hour, in log order. Each hit may be given only once (see `again`).
            log_time: any log time in that hour.
        """
        if rows.is_empty():
            return rows
        hour, sites, weights = _hour_of(log_time), rows["site"].to_numpy(), _weights_of(rows)
        sums = self._sums(hour, int(sites.max()) + 1)
        before = sums.copy()
        np.add.at(sums, sites, weights)
        inspected = sums[sites] > self._limit
        if inspected.any():
            self._inspect(hour, rows, inspected, before, weights)
        return self._folded(rows, hour)

    def again(self, rows: pl.DataFrame, log_time: int) -> pl.DataFrame:
        """Fold hits that were already given to `take`, with the same arguments and the same result as `take`."""
        return rows if rows.is_empty() else self._folded(rows, _hour_of(log_time))

    def forget_before(self, log_time: int) -> None:
        """Drop the weights and texts of all hours before the hour that contains `log_time`."""
        first = _hour_of(log_time)
        self._weights = {hour: sums for hour, sums in self._weights.items() if hour >= first}
        self._known = {key: known for key, known in self._known.items() if key[0] >= first}

    def to_frame(self) -> pl.DataFrame:
        """Return the weights and texts as a table."""
        found = []
        for hour, sums in self._weights.items():
            for site in np.flatnonzero(sums).tolist():
                known = self._known.get((hour, site))
                place = (None, None, None) if known is None else (known.offset, known.row, list(known.texts))
                found.append((hour, site, int(sums[site]), *place))
        return pl.DataFrame(found, schema=_SCHEMA, orient="row")

    def restore(self, table: pl.DataFrame) -> None:
        """Load a table from `to_frame`."""
        for hour, site, weight, offset, row, texts in table.select(*_SCHEMA).iter_rows():
            self._sums(hour, site + 1)[site] = weight
            if texts is not None:
                self._known[hour, site] = self._completed(_Known(offset, row, dict.fromkeys(texts)))

    def _sums(self, hour: int, sites: int) -> I64Array:
        """Return each site's sum of weights in an hour. The array is writable."""
        there = self._weights.get(hour, np.zeros(0, np.int64))
        if len(there) < sites:
            there = np.concatenate([there, np.zeros(sites - len(there), np.int64)])
        self._weights[hour] = there
        return there

    def _inspect(
        self, hour: int, rows: pl.DataFrame, inspected: BoolArray, before: I64Array, weights: I64Array
    ) -> None:
        """Add the new texts of all sites whose weights exceed the limit.

        Args:
            hour: the hour of log time.
            rows: hits from this hour, in log order.
            inspected: whether the weights of the hit's site exceed the limit (n,).
            before: each site's sum of weights before `rows`.
            weights: each hit's weight (n,).
        """
        sites = rows["site"].to_numpy()
        inspected = inspected.copy()
        for site in np.unique(sites[inspected]).tolist():
            known = self._known.get((hour, site))
            if known is None:
                places = np.flatnonzero(sites == site)
                beyond = before[site] + np.cumsum(weights[places]) > self._limit
                first = int(places[int(np.argmax(beyond))])
                self._known[hour, site] = _Known(*rows.select("offset", "row").row(first))
                inspected[places[places < first]] = False
            elif known.series is not None:
                inspected[sites == site] = False
        texts = rows.select("site", *FOLDED_COLUMNS, "items")
        self._learn(hour, texts if inspected.all() else texts.filter(pl.Series(inspected)))

    def _learn(self, hour: int, rows: pl.DataFrame) -> None:
        """Add new texts of inspected hits to the texts that each site keeps, up to the limit."""
        for site, texts in _distinct(rows):
            known = self._known[hour, site]
            fresh = dict.fromkeys(texts).keys() - known.texts.keys()
            room = self._limit - len(known.texts)
            if len(fresh) > room:
                ordered = _in_order(rows.filter(pl.col("site") == site))
                known.texts |= dict.fromkeys(islice((text for text in ordered if text in fresh), room))
            else:
                known.texts |= dict.fromkeys(fresh)
            self._completed(known)

    def _completed(self, known: _Known) -> _Known:
        """If the number of texts has reached the limit, set `series`. Return `known`."""
        if known.series is None and len(known.texts) >= self._limit:
            known.series = pl.Series(list(known.texts), dtype=pl.String)
        return known

    def _folded(self, rows: pl.DataFrame, hour: int) -> pl.DataFrame:
        for site in rows["site"].unique().to_list():
            known = self._known.get((hour, site))
            if known is not None and known.series is not None:
                folds, texts = (pl.col("site") == site) & _from_on(known), known.series
                rows = rows.with_columns(_or_folded(pl.col(name), folds, texts).alias(name) for name in FOLDED_COLUMNS)
                rows = _with_folded_items(rows, folds, texts)
        return rows


def _hour_of(log_time: int) -> int:
    return log_time - log_time % HOUR_MS


def _weights_of(rows: pl.DataFrame) -> I64Array:
    """Return each hit's weight: the maximum number of texts that the hit can contain."""
    items = rows["items"].list.len().fill_null(0).to_numpy().astype(np.int64)
    weights: I64Array = len(FOLDED_COLUMNS) + len(_ITEM_FIELDS) * items
    return weights


def _from_on(known: _Known) -> pl.Expr:
    """Return an expression that is true for the first inspected hit and all hits that are later in the log."""
    is_later = (pl.col("offset") == known.offset) & (pl.col("row") >= known.row)
    return (pl.col("offset") > known.offset) | is_later


def _distinct(rows: pl.DataFrame) -> Iterator[tuple[int, list[str]]]:
    """Yield each site with the texts of its hits, in any order, each text at least once."""
    pairs = [
        rows.select("site", pl.col(name).alias("text")).drop_nulls().unique()
        for name in FOLDED_COLUMNS
        if rows[name].null_count() < rows.height
    ]
    items = rows.select("site", "items").filter(pl.col("items").list.len() > 0).explode("items")
    for name in _ITEM_FIELDS if items.height else ():
        pairs.append(items.select("site", pl.col("items").struct.field(name).alias("text")).drop_nulls().unique())
    if pairs:
        yield from pl.concat(pairs).group_by("site").agg("text").iter_rows()


def _in_order(rows: pl.DataFrame) -> dict[str, None]:
    """Return the hits' distinct texts in log order. The texts of a hit are in the order of the columns.

    The texts of a hit's items come last, in the order of the items.
    """
    found: dict[str, None] = {}
    for *texts, items in rows.select(*FOLDED_COLUMNS, "items").iter_rows():
        every = chain(texts, (item[name] for item in items or () for name in _ITEM_FIELDS))
        found |= dict.fromkeys(text for text in every if text is not None)
    return found


def _or_folded(text: pl.Expr, folds: pl.Expr, known: pl.Series) -> pl.Expr:
    stays = ~folds | text.is_null() | text.is_in(known.implode())
    return pl.when(stays).then(text).otherwise(pl.lit(FOLDED))


def _with_folded_items(rows: pl.DataFrame, folds: pl.Expr, known: pl.Series) -> pl.DataFrame:
    places = rows.select(pl.arg_where(folds & (pl.col("items").list.len() > 0))).to_series()
    if places.is_empty():
        return rows
    every = pl.lit(value=True)
    fields = [_or_folded(pl.field(name), every, known).alias(name) for name in _ITEM_FIELDS]
    items = rows.select("items")[places].with_columns(places.cast(pl.UInt32).alias("at")).explode("items")
    folded = (
        items.with_columns(pl.col("items").struct.with_fields(fields)).group_by("at", maintain_order=True).agg("items")
    )
    numbered = rows.with_columns(pl.int_range(pl.len(), dtype=pl.UInt32).alias("at"))
    together = numbered.join(folded, on="at", how="left", maintain_order="left", suffix="_folded")
    return together.with_columns(pl.coalesce("items_folded", "items").alias("items")).drop("at", "items_folded")
