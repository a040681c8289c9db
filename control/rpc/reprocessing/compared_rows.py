"""Compare the rows of two generations by key.

A key is a value of a dimension, or a cell (15 minutes of a site).

This module loads Polars, so it is imported only when a call compares rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import polars as pl

from control.rpc.reprocessing.differences import Sums, ranking
from hitmesh.model.sites import SiteDay

OLD: Final = "old"
NEW: Final = "new"


class Generations(NamedTuple):
    """The old and the new generation of each compared site-day."""

    before: Mapping[SiteDay, int]
    after: Mapping[SiteDay, int]


class Compared(NamedTuple):
    """Compared rows.

    Attributes:
        changes: a table with the key columns, metric, old and new. The table has a row for each key and metric whose
            sum differs.
        sums: each measure's sums over all keys.
    """

    changes: pl.DataFrame
    sums: Mapping[str, Sums]


class ChangedKeys(NamedTuple):
    """The most changed keys, the most changed first.

    Attributes:
        ranked_by: the metric that ranks the keys; empty if no key changed.
        keys: each key with its changed metrics.
        total: the number of keys with a difference.
    """

    ranked_by: str
    keys: Sequence[tuple[tuple[Any, ...], Mapping[str, Sums]]]
    total: int


def compare(old: pl.DataFrame, new: pl.DataFrame, keys: Sequence[str], measures: Sequence[str]) -> Compared:
    """Compare the measures of the old and the new rows by key.

    Args:
        old: a table with the key columns and a column per measure; a key may have several rows.
        new: the same table for the new generations.
        keys: names of the key columns.
        measures: names of the measure columns.
    """
    sides = [
        rows.select(*keys, *(pl.col(measure).alias(f"{side} {measure}") for measure in measures))
        for side, rows in ((OLD, old), (NEW, new))
    ]
    both = pl.concat(sides, how="diagonal").group_by(keys).agg(pl.all().sum())
    changes = [
        both.select(
            *keys,
            pl.lit(measure).alias("metric"),
            pl.col(f"{OLD} {measure}").alias(OLD),
            pl.col(f"{NEW} {measure}").alias(NEW),
        ).filter(pl.col(OLD) != pl.col(NEW))
        for measure in measures
    ]
    return Compared(pl.concat(changes), {measure: _sums(both, measure) for measure in measures})


def most_changed_keys(compared: Sequence[Compared], keys: Sequence[str], order_by: str, top: int) -> ChangedKeys:
    """Return at most `top` keys, ranked by the metric `order_by`.

    If `order_by` is empty, the metric with the largest change in per cent ranks the keys.
    """
    changes = pl.concat([each.changes for each in compared])
    ranked_by = order_by or ranking({metric: sums for each in compared for metric, sums in each.sums.items()})
    by = (pl.col(NEW) - pl.col(OLD)).abs().alias("by")
    of_metric = changes.filter(pl.col("metric") == ranked_by).with_columns(by)
    ranked = of_metric.sort("by", *keys, descending=[True, *[False] * len(keys)]).head(top).select(keys)
    shown = {key: dict[str, Sums]() for key in ranked.iter_rows()}
    for *key, metric, old, new in changes.join(ranked, on=list(keys), how="semi").iter_rows():
        shown[tuple(key)][metric] = Sums().plus(old, new)
    total = changes.select(keys).n_unique()
    return ChangedKeys(ranked_by if shown else "", list(shown.items()), total)


def _sums(both: pl.DataFrame, measure: str) -> Sums:
    old, new = pl.col(f"{OLD} {measure}"), pl.col(f"{NEW} {measure}")
    return Sums(*both.select(old.sum(), new.sum().alias("new"), (new - old).abs().sum().alias("absolute")).row(0))
