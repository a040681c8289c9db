"""Sum the stream's rows per site-day for settlement, with group-by queries.

A query covers a single day and up to 256 sites. This module decides which site-days share a query;
hitmesh.adapters.druid.metrics sends the query. Settlement compares the sums with the partials.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Final

from pydruid.utils.aggregators import longsum
from pydruid.utils.dimensions import DimensionSpec

from hitmesh.adapters.druid.native import Native, equals_number, every, group_by, is_among
from hitmesh.adapters.shared.druid_columns import HALF, HIGH
from hitmesh.model.days import iso_second
from hitmesh.model.generations import STREAM_GENERATION
from hitmesh.model.rows.rollup_rows import TRAFFIC_MEASURES, VISITS_MEASURES, RowSource
from hitmesh.model.sites import SiteDay
from hitmesh.model.zones import DAY_MS

MAX_SITES: Final = 256  # sites per query
SUMS: Final = {RowSource.TRAFFIC: (*TRAFFIC_MEASURES, *HIGH.values()), RowSource.VISITS: VISITS_MEASURES}


def whole_sums(source: RowSource, sums: Sequence[int | None]) -> dict[str, int]:
    """Return each measure's sum, modulo 2⁶⁴; the two halves of an amount are joined.

    `sums` has one value per column in SUMS[source], in the same order.
    """
    found = {name: value or 0 for name, value in zip(SUMS[source], sums, strict=True)}
    return {
        name: value + found[HIGH[name]] * HALF if HIGH.get(name) in found else value
        for name, value in found.items()
        if name not in HIGH.values()
    }


def sites_per_query(site_days: Collection[SiteDay], max_sites: int = MAX_SITES) -> Iterator[tuple[int, list[str]]]:
    """Yield each day with its sites, in portions of at most `max_sites` sites."""
    sites: dict[int, list[str]] = defaultdict(list)
    for site, day in sorted(set(site_days)):
        sites[day].append(site)
    for day, day_sites in sites.items():
        for first in range(0, len(day_sites), max_sites):
            yield day, day_sites[first : first + max_sites]


def sums_query(
    data_source: str, source: RowSource, day: int, sites: list[str], generation: int = STREAM_GENERATION
) -> Native:
    """Return the query that sums all rows of a stream's generation on a day.

    A result row has the site, followed by a value for each column in SUMS[source].
    """
    return group_by(
        datasource=data_source,
        intervals=[f"{iso_second(day * DAY_MS)}/{iso_second((day + 1) * DAY_MS)}"],
        dimensions=[DimensionSpec("site", "site")],
        filter=every([equals_number("generation", generation), is_among("site", sites)]),
        aggregations={name: longsum(name) for name in SUMS[source]},
    )
