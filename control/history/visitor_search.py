"""Search a site's raw hits for a visitor before an erasure is planned. Reads only.

The search reads the newest UTC day first, and ends when a limit is reached. The result states how many days were read
completely, so that a caller knows whether the counts are complete.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from hitmesh.model.checkpoints import Checkpoint
from hitmesh.model.rows.raw_hits import visitor_hits
from hitmesh.model.sites import SiteDay
from hitmesh.ports import Clock, RawStore


@dataclass(frozen=True, slots=True)
class SearchLimits:
    """The limits of a search.

    Attributes:
        rows: approximate maximum number of raw hits that are read, including hits of other visitors and sites.
        search_ms: time limit in ms; after this time, the search reads nothing more.
    """

    rows: int = 2_000_000
    search_ms: int = 10_000


@dataclass(frozen=True, slots=True)
class VisitorSearch:
    """The result of a search.

    Attributes:
        hits: the number of the visitor's hits that were found.
        found_days: the UTC days on which hits were found, newest first.
        searched_days: the number of days that were read completely.
        days: the number of days on which the site has raw hits.
    """

    hits: int
    found_days: tuple[int, ...]
    searched_days: int
    days: int


def search_visitor(
    raw: RawStore,
    clock: Clock,
    site: str,
    keys: Collection[tuple[int, int]],
    until: int,
    checkpoint: Checkpoint,
    limits: SearchLimits,
) -> VisitorSearch:
    """Count a visitor's hits, day by day.

    Args:
        raw: the store with the raw hits.
        clock: measures the duration of the search.
        site: the site's full name.
        keys: the visitor's keys, high and low 64 bits each.
        until: only hits with an event time before this time (UTC ms) are counted.
        checkpoint: called for each record.
        limits: the limits.

    Raises:
        StoreCorrupt: a record is damaged.
        Unavailable: the store does not answer.
        Abandoned: raised by the checkpoint.
    """
    days = sorted(raw.days(site), reverse=True)
    ends_at, rows, hits = clock.now() + limits.search_ms, 0, 0
    found: list[int] = []
    for searched, day in enumerate(days):
        of_day = 0
        for record in raw.scan(site, day, day + 1):
            checkpoint()
            if rows + record.rows > limits.rows or clock.now() > ends_at:
                found += [day] if of_day else []
                return VisitorSearch(hits + of_day, tuple(found), searched, len(days))
            rows += record.rows
            of_day += visitor_hits(record, SiteDay(site, day), keys, until)
        hits += of_day
        found += [day] if of_day else []
    return VisitorSearch(hits, tuple(found), len(days), len(days))
