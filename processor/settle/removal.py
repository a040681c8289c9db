"""Remove the rows of superseded generations, and log which rows are removed."""

from __future__ import annotations

from collections.abc import Set
from typing import Final

from hitmesh.model.days import date_text
from hitmesh.model.site_buckets import EVERY_BUCKET, site_bucket
from hitmesh.runtime.logs import logger
from processor.settle.stores import SettlerStores

LISTED: Final = 20
"""Maximum number of generations that a log line names; the line counts all."""


def remove_superseded(
    stores: SettlerStores, superseded_before: int, max_generations: int, buckets: Set[int] = EVERY_BUCKET
) -> int:
    """Remove the rows of generations that count as superseded from before `superseded_before` (UTC ms).

    No answer reads these generations any more. The log names the generations before their rows are removed; after a
    crash, the removal is repeated. Other settlers remove the rows of sites outside `buckets`.

    Returns:
        The number of removed generations, at most `max_generations`; the next call removes the others.
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
