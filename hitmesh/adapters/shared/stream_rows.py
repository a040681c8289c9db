"""Signed rows of the stream, folded: what is stored of them for good, and what an answer sees of them.

Decides when a row is gone: the net of its key is 0 in every measure. Refuses to know where rows are kept, and which
generation is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import polars as pl

from hitmesh.adapters.shared.answers import united
from hitmesh.model.amounts import as_rows, sums
from hitmesh.model.rows.rollup_rows import ROW_COLUMNS, TRAFFIC_SKETCHES, RowSource
from hitmesh.model.rows.stream_columns import (
    MOVED_VISITORS,
    ROW_SUMS,
    STREAM_COLUMNS,
    STREAM_GENERATION,
    STREAM_MEASURES,
)
from hitmesh.model.sites import SiteDay

_SUMS = {source: [name for name in STREAM_COLUMNS[source] if name in STREAM_MEASURES[source]] for source in RowSource}
_SKETCHES = {source: [name for name in STREAM_COLUMNS[source] if name in TRAFFIC_SKETCHES] for source in RowSource}
_KEYS = {
    source: [name for name in ROW_COLUMNS[source] if name not in {"generation", *_SUMS[source], *_SKETCHES[source]}]
    for source in RowSource
}


def as_streamed(rows: pl.DataFrame, source: RowSource) -> pl.DataFrame:
    """Returns the rows with the stream's columns of their source, in the order and types of the schema.

    Raises:
        ValueError: a row is of another generation than the stream's.
    """
    if (rows["generation"] != STREAM_GENERATION).any():
        raise ValueError(f"the stream writes generation {STREAM_GENERATION} only")
    return rows.select([pl.col(name).cast(dtype) for name, dtype in STREAM_COLUMNS[source].items()])


def folded(rows: pl.DataFrame, source: RowSource, *, whole: bool) -> pl.DataFrame:
    """Returns one row per key, or more (hitmesh.model.amounts): sums added, sketches united, rows of nothing left out.

    Args:
        rows: columns of STREAM_COLUMNS, any order.
        source: which rows they are.
        whole: whether no row of these keys was written before the oldest of `rows`. Then a key whose measures are all
            0 has no hit, and its sketch goes with it. Otherwise the hits of a visitor may have been taken back here
            who came before, beside one who came now: the sketch must stay.
    """
    lists = [pl.col(name) for name in _SKETCHES[source]]
    one_row = rows.group_by(_KEYS[source]).agg(*sums(_SUMS[source]), *lists)
    with_sketches = one_row.with_columns([united(one_row[name]) for name in _SKETCHES[source]])
    kept = as_rows(with_sketches.filter(counts_something(source, whole=whole)))
    return kept.select(
        [
            pl.lit(STREAM_GENERATION, dtype).alias(name) if name == "generation" else pl.col(name)
            for name, dtype in STREAM_COLUMNS[source].items()
        ]
    )


def sums_of(rows: Mapping[RowSource, pl.DataFrame], site_days: Iterable[SiteDay]) -> dict[SiteDay, dict[str, int]]:
    """Returns ROW_SUMS of each of these site-days; see MetricStore.stream_sums.

    Args:
        rows: columns of STREAM_COLUMNS by source, of these site-days only.
        site_days: asked for.
    """
    found = {site_day: dict.fromkeys(ROW_SUMS, 0) for site_day in site_days}
    for source, own in rows.items():
        names = [name for name in _SUMS[source] if name in ROW_SUMS]
        for site, day, *added in own.group_by("site", "day").agg(pl.col(names).sum()).iter_rows():
            found[SiteDay(site, day)] |= zip(names, added, strict=True)
    return found


def counts_something(source: RowSource, *, whole: bool) -> pl.Expr:
    """Returns whether a folded row must be kept; see `folded`."""
    measures = [pl.col(name) != 0 for name in _SUMS[source] if name != MOVED_VISITORS]
    if whole:
        return pl.any_horizontal(measures)
    sketches = [pl.col(name).is_not_null() for name in _SKETCHES[source]]
    moved = [pl.col(MOVED_VISITORS) != 0] if MOVED_VISITORS in _SUMS[source] else []
    return pl.any_horizontal(*measures, *moved, *sketches)
