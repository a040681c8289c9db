"""Removes superseded generations' rows, and logs these generations."""

from __future__ import annotations

from collections.abc import Iterator, Set
from itertools import islice
from typing import Final

from hitmesh.model.days import date_text
from hitmesh.model.site_buckets import EVERY_BUCKET, site_bucket
from hitmesh.model.sites import SiteDay
from hitmesh.ports import Generations
from hitmesh.ports.settling import SUPERSEDED_PAGE
from hitmesh.runtime.logs import logger
from processor.settle.stores import SettlerStores

LISTED: Final = 20
"""A log line names at most this many removed generations, and states how many were removed in total."""

_Generation = tuple[SiteDay, int]


def remove_superseded(
    stores: SettlerStores,
    superseded_before: int,
    max_generations: int,
    buckets: Set[int] = EVERY_BUCKET,
    page: int = SUPERSEDED_PAGE,
) -> int:
    """Remove the rows of generations that were superseded before `superseded_before` (UTC ms).

    Reports no longer read superseded generations. The generations are logged before their rows are removed. After a
    crash, the removal is repeated. For sites outside `buckets`, other settlers remove the rows. The generations are
    read in pages of `page` generations.

    Returns:
        How many generations were removed: at most `max_generations`. If more generations were superseded,
        later calls remove the remaining rows.
    """
    due = _superseded(stores.generations, superseded_before, buckets, page)
    gone = list(islice(due, max_generations))
    if not gone:
        return 0
    logger().info(
        "retired_generations_removed",
        generations=len(gone),
        has_more=next(due, None) is not None,
        removed=[f"{site} {date_text(day)} generation {number}" for (site, day), number in gone[:LISTED]],
    )
    stores.sink.drop(gone)
    for site_day, generation in gone:
        stores.generations.forget(site_day, generation)
    return len(gone)


def _superseded(
    generations: Generations, superseded_before: int, buckets: Set[int], page: int
) -> Iterator[_Generation]:
    """Yield the superseded generations on sites in `buckets`. A page is read when its first generation is needed."""
    after: _Generation | None = None
    while found := generations.superseded(superseded_before, after, page):
        yield from ((site_day, generation) for site_day, generation in found if site_bucket(site_day.site) in buckets)
        after = found[-1]
