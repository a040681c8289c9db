"""Removes the rows of superseded generations, and logs these generations."""

from __future__ import annotations

from collections.abc import Set
from typing import Final

from hitmesh.model.days import date_text
from hitmesh.model.site_buckets import EVERY_BUCKET, site_bucket
from hitmesh.runtime.logs import logger
from processor.settle.stores import SettlerStores

LISTED: Final = 20
"""A log line names at most this many removed generations, and states how many were removed in total."""


def remove_superseded(
    stores: SettlerStores, superseded_before: int, max_generations: int, buckets: Set[int] = EVERY_BUCKET
) -> int:
    """Remove the rows of generations that were superseded before `superseded_before` (UTC ms).

    Reports no longer read superseded generations. The generations are logged before their rows are removed. After a
    crash, the removal is repeated. For sites outside `buckets`, other settlers remove the rows.

    Returns:
        The number of removed generations, which is at most `max_generations`. If more generations were superseded,
        later calls remove the remaining rows.
    """
    superseded = stores.generations.superseded(superseded_before)
    due = [(site_day, generation) for site_day, generation in superseded if site_bucket(site_day.site) in buckets]
    gone = due[:max_generations]
    if not gone:
        return 0
    logger().info(
        "retired_generations_removed",
        generations=len(gone),
        left=len(due) - len(gone),
        removed=[f"{site} {date_text(day)} generation {number}" for (site, day), number in gone[:LISTED]],
    )
    stores.sink.drop(gone)
    for site_day, generation in gone:
        stores.generations.forget(site_day, generation)
    return len(gone)
