"""Turn a site's series into the result of a metric store query (journey step 8, architecture A11).

This module decides which days are read together, how cells become buckets, and when series cannot answer a question.
All functions are pure. Queries in this module have no filter, and no dimension except the currency.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from hitmesh.model.amounts import sums
from hitmesh.model.generations import is_streamed
from hitmesh.model.queries import MetricQuery
from hitmesh.model.rows.stream_columns import SERIES_COLUMNS
from hitmesh.model.sites import SiteDay
from hitmesh.model.sketches.unions import merge_by_group
from reporter.answer.parts import BUCKET
from reporter.question.catalogue import ORDERS_IN_CURRENCY, PARTS
from reporter.question.plan import CURRENCY

# Maximum number of days that are read together. The sketches of a site then need at most 96 MiB of memory: 32 days × 96
# cells × 32 KiB per sketch.
MAX_RUN_DAYS: Final = 32
_OF_NO_CURRENCY: Final = ""
_AMOUNTS: Final = tuple(part.column for name, part in PARTS.items() if part.by_currency and name != ORDERS_IN_CURRENCY)
_NOTHING: Final = pl.DataFrame(schema=SERIES_COLUMNS)


@dataclass(frozen=True, slots=True)
class Run:
    """A site's days [first_day, end_day), which are read at once and have the same generation."""

    first_day: int
    end_day: int
    generation: int

    @property
    def days(self) -> int:
        """The number of days."""
        return self.end_day - self.first_day


def runs(generations: Mapping[SiteDay, int]) -> list[Run]:
    """Return the site-days of a single site as runs of at most 32 days, in ascending order."""
    found: list[Run] = []
    for (_, day), generation in sorted(generations.items()):
        last = found[-1] if found else None
        joins = last is not None and (last.end_day, last.generation) == (day, generation) and last.days < MAX_RUN_DAYS
        if last is not None and joins:
            found[-1] = Run(last.first_day, day + 1, generation)
        else:
            found.append(Run(day, day + 1, generation))
    return found


def is_complete(run: Run, rows: pl.DataFrame, settled: frozenset[int]) -> bool:
    """Return whether a store's rows for a run (consecutive days that are read at once) are complete.

    If a settled day in a run has no rows, the run counts as incomplete. There are four possible causes: an earlier
    version settled the day without series, the rows are lost, the rows have expired, or the day has no hits. For a day
    without hits, the query to the metric store costs little. If the rows have amounts without a currency, the run also
    counts as incomplete, because older series had no currencies.

    Args:
        run: the run.
        rows: the store's rows for the run.
        settled: the settled UTC days. If settlement confirmed the rows of a stream, a settled day has the stream's
            generation. A day that is not settled may have no rows yet.
    """
    days = range(run.first_day, run.end_day)
    needed = settled.intersection(days) if is_streamed(run.generation) else frozenset(days)
    if not needed.issubset(rows["day"].unique().to_list()):
        return False
    untold = rows.filter(pl.col(CURRENCY) == _OF_NO_CURRENCY).select(pl.any_horizontal(pl.col(_AMOUNTS) != 0).any())
    return not untold.item()


def folded(rows: pl.DataFrame, query: MetricQuery) -> pl.DataFrame:
    """Return series rows (SERIES_COLUMNS) of the requested generations, summed per bucket, or per bucket and currency.

    Columns have the same meaning as in MetricStore.query; rows without data are left out.
    """
    first = max(query.start, query.bucket_starts[0])
    holds = (pl.col("cell") >= first) & (pl.col("cell") < query.end)
    if not query.include_excluded:
        holds &= ~pl.col("excluded")
    kept = rows.filter(holds)
    places = np.searchsorted(np.array(query.bucket_starts, np.int64), kept["cell"].to_numpy(), side="right") - 1
    return _grouped(
        kept.select(
            pl.Series(BUCKET, places.astype(np.int32)),
            *(_dimension(name) for name in query.dimensions),
            *query.measures,
            *query.sketches,
        ),
        query,
    )


def added(parts: Sequence[pl.DataFrame], query: MetricQuery) -> pl.DataFrame:
    """Combine several tables that `folded` returned; add up rows with equal keys."""
    if not parts:
        return folded(_NOTHING, query)
    return parts[0] if len(parts) == 1 else _grouped(pl.concat(parts), query)


def _dimension(name: str) -> pl.Expr:
    """Return the currency, the only dimension of series. As in the metric store, a missing currency is null.

    Raises:
        ValueError: the dimension is not the currency.
    """
    if name != CURRENCY:
        raise ValueError(f"the series store has no dimension {name!r}: read this dimension from the metric store")
    return pl.when(pl.col(CURRENCY) != _OF_NO_CURRENCY).then(pl.col(CURRENCY)).alias(CURRENCY)


def _grouped(keyed: pl.DataFrame, query: MetricQuery) -> pl.DataFrame:
    """Return a row per bucket and dimension values, with the added sums and the united sketches.

    Rows without data are left out.
    """
    if keyed.is_empty():
        return keyed
    groups = keyed.group_by(BUCKET, *query.dimensions).agg(
        *sums(query.measures), *(pl.col(name).drop_nulls() for name in query.sketches)
    )
    whole = groups.with_columns(_united(groups[name]) for name in query.sketches)
    is_non_zero = [pl.col(name) != 0 for name in query.measures] + [
        pl.col(name).is_not_null() for name in query.sketches
    ]
    return whole.filter(pl.any_horizontal(is_non_zero))


def _united(lists: pl.Series) -> pl.Series:
    """Return the union of each list of sketches; null for an empty list."""
    counts = lists.list.len().to_numpy()
    several = np.flatnonzero(counts > 1)
    united = lists.list.first()
    if len(several):
        groups = np.repeat(np.arange(len(several)), counts[several])
        merged = merge_by_group(lists.gather(several).explode(), groups, len(several))
        united = united.scatter(several, pl.Series(merged.to_arrow(), dtype=pl.Binary))
    return united.alias(lists.name)
