"""Fold the stream's rows, for storage and for answers. Folding sums the rows with equal keys; measures may be negative.

If every measure of a key sums to 0, the key's rows are removed; `folded` describes the exception.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import polars as pl

from hitmesh.adapters.shared.answers import united
from hitmesh.model.amounts import as_rows, sums
from hitmesh.model.generations import STREAM_GENERATION
from hitmesh.model.rows.expressions import as_types
from hitmesh.model.rows.rollup_rows import ROW_COLUMNS, TRAFFIC_SKETCHES, RowSource
from hitmesh.model.rows.stream_columns import MOVED_VISITORS, ROW_SUMS, STREAM_COLUMNS, STREAM_MEASURES
from hitmesh.model.sites import SiteDay

_SUMS = {source: [name for name in STREAM_COLUMNS[source] if name in STREAM_MEASURES[source]] for source in RowSource}
_SKETCHES = {source: [name for name in STREAM_COLUMNS[source] if name in TRAFFIC_SKETCHES] for source in RowSource}
_KEYS = {
    source: [name for name in ROW_COLUMNS[source] if name not in {"generation", *_SUMS[source], *_SKETCHES[source]}]
    for source in RowSource
}


def as_streamed(rows: pl.DataFrame, source: RowSource, stream: int = STREAM_GENERATION) -> pl.DataFrame:
    """Return the rows with exactly the stream's columns for `source`, in the schema's order and types.

    Raises:
        ValueError: a row's generation is not the stream's generation.
    """
    if (rows["generation"] != stream).any():
        raise ValueError(f"the rows must have generation {stream}, which is the stream's generation")
    return rows.select(as_types(STREAM_COLUMNS[source]))


def folded(rows: pl.DataFrame, source: RowSource, *, whole: bool, stream: int = STREAM_GENERATION) -> pl.DataFrame:
    """Sum the rows with equal keys and unite their sketches; remove rows in which all measures are 0.

    A key has one row, or several if an amount is too large for one row (hitmesh.model.amounts).

    Args:
        rows: the rows to fold (STREAM_COLUMNS), in any order.
        source: the row source.
        whole: true if no rows with these keys are older than `rows`. If `whole` is true, a key whose measures are all 0
            has no hit, so the key's sketch is removed too. If `whole` is false, the measures can also be 0 because hits
            moved to another visitor. A row with a sketch is therefore kept.
        stream: the generation of the rows.
    """
    lists = [pl.col(name) for name in _SKETCHES[source]]
    one_row = rows.group_by(_KEYS[source]).agg(*sums(_SUMS[source]), *lists)
    with_sketches = one_row.with_columns([united(one_row[name]) for name in _SKETCHES[source]])
    kept = as_rows(with_sketches.filter(counts_something(source, whole=whole)))
    return kept.select(
        [
            pl.lit(stream, dtype).alias(name) if name == "generation" else pl.col(name)
            for name, dtype in STREAM_COLUMNS[source].items()
        ]
    )


def sums_of(rows: Mapping[RowSource, pl.DataFrame], site_days: Iterable[SiteDay]) -> dict[SiteDay, dict[str, int]]:
    """Return the sums of the measures in ROW_SUMS for each of these site-days; see MetricStore.stream_sums.

    Args:
        rows: the rows of these site-days only (STREAM_COLUMNS), by source.
        site_days: the requested site-days.
    """
    found = {site_day: dict.fromkeys(ROW_SUMS, 0) for site_day in site_days}
    for source, source_rows in rows.items():
        names = [name for name in _SUMS[source] if name in ROW_SUMS]
        for site, day, *added in source_rows.group_by("site", "day").agg(pl.col(names).sum()).iter_rows():
            found[SiteDay(site, day)] |= zip(names, added, strict=True)
    return found


def counts_something(source: RowSource, *, whole: bool) -> pl.Expr:
    """Return whether a folded row must be kept; see `folded`."""
    measures = [pl.col(name) != 0 for name in _SUMS[source] if name != MOVED_VISITORS]
    if whole:
        return pl.any_horizontal(measures)
    sketches = [pl.col(name).is_not_null() for name in _SKETCHES[source]]
    moved = [pl.col(MOVED_VISITORS) != 0] if MOVED_VISITORS in _SUMS[source] else []
    return pl.any_horizontal(*measures, *moved, *sketches)
