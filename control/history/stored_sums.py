"""Add up the measures of a site-day's current generation, in each of the two stores that reports read.

This module is imported at the first check, because it loads Polars.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hitmesh.model.amounts import total
from hitmesh.model.checkpoints import Checkpoint
from hitmesh.model.errors import RefusedError, StoreCorrupt
from hitmesh.model.queries import MetricQuery
from hitmesh.model.rows.rollup_rows import TRAFFIC_MEASURES, VISITS_MEASURES, RowSource
from hitmesh.model.sites import SiteDay
from hitmesh.model.zones import DAY_MS
from hitmesh.ports import MetricStore, SeriesStore

MEASURES: Final = (*TRAFFIC_MEASURES, *VISITS_MEASURES)
_OF_SOURCE: Final = {RowSource.TRAFFIC: TRAFFIC_MEASURES, RowSource.VISITS: VISITS_MEASURES}

Sums = Mapping[str, int]


def series_sums(series: SeriesStore, site_day: SiteDay, generation: int) -> Sums:
    """Return a site-day's sums in the series store.

    Raises:
        StoreCorrupt: the series is damaged.
    """
    site, day = site_day
    rows = series.read(site, day, day + 1, generation)
    return {measure: total(rows[measure]) for measure in MEASURES}


def metric_sums(
    metrics: MetricStore, generations: Mapping[SiteDay, int], checkpoint: Checkpoint
) -> Mapping[SiteDay, Sums | str]:
    """Return each site-day's sums in the metric store, or the reason why the rows are not readable.

    All site-days are read in one query. If the query fails, each half of the site-days is queried separately, so that
    few queries find the damaged site-days.
    """
    if not generations:
        return {}
    try:
        return _sums(metrics, generations, checkpoint)
    except (StoreCorrupt, RefusedError) as error:
        if len(generations) == 1:
            return dict.fromkeys(generations, error.message)
    in_order = sorted(generations)
    halves = (in_order[: len(in_order) // 2], in_order[len(in_order) // 2 :])
    parts = (metric_sums(metrics, {each: generations[each] for each in half}, checkpoint) for half in halves)
    return {site_day: sums for part in parts for site_day, sums in part.items()}


def _sums(metrics: MetricStore, generations: Mapping[SiteDay, int], checkpoint: Checkpoint) -> Mapping[SiteDay, Sums]:
    days = sorted({site_day.day for site_day in generations})
    found = {site_day: dict.fromkeys(MEASURES, 0) for site_day in generations}
    for source, measures in _OF_SOURCE.items():
        question = MetricQuery(
            source=source,
            generations=generations,
            start=days[0] * DAY_MS,
            end=(days[-1] + 1) * DAY_MS,
            bucket_starts=tuple(day * DAY_MS for day in days),
            dimensions=("site",),
            measures=measures,
            include_excluded=True,
            fresh=True,
        )
        rows = metrics.query(question, checkpoint).select("bucket", "site", *measures)
        for bucket, site, *sums in rows.iter_rows():
            found[SiteDay(site, days[bucket])] |= dict(zip(measures, map(int, sums), strict=True))
    return found
