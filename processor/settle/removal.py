"""Remove the rows of superseded generations, and log which rows are removed."""

from __future__ import annotations

from typing import Final

from hitmesh.model.days import date_text
from hitmesh.runtime.logs import logger
from processor.settle.attempt import SettlerStores

LISTED: Final = 20
"""Maximum number of generations that a log line names; the line counts all."""


def remove_superseded(stores: SettlerStores, superseded_before: int, max_generations: int) -> int:
    """Remove the rows of generations that count as superseded from before `superseded_before` (UTC ms).

    No answer reads these generations any more. The log names the generations before their rows are removed; after a
    crash, the removal is repeated.

    Returns:
        The number of removed generations, at most `max_generations`; the next call removes the others.
    """
    due = stores.generations.superseded(superseded_before)
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
