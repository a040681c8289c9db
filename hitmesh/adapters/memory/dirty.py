"""Keep, in memory, the site-days that wait for settlement."""

from __future__ import annotations

import threading
from collections.abc import Sequence, Set

from hitmesh.adapters.shared.marks import gathered, ranges_of, taken_of, whole_sites
from hitmesh.model.generations import DirtyMark, DirtySiteDay
from hitmesh.model.positions import Position
from hitmesh.model.site_buckets import EVERY_BUCKET, site_bucket
from hitmesh.model.sites import SiteDay


class MemoryDirtyDays:
    """Implements the port DirtyDays in memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._marks: dict[tuple[SiteDay, Position], DirtyMark] = {}
        self._awaited: set[SiteDay] = set()

    def mark(self, marks: Sequence[DirtyMark]) -> None:
        """Store dirty marks. Idempotent."""
        with self._lock:
            for mark in marks:
                self._marks.setdefault((mark.site_day, mark.position), mark)

    def await_close(self, site_days: Sequence[SiteDay]) -> None:
        """Store awaited days; `take` returns a stored day once the day has closed. Idempotent."""
        with self._lock:
            self._awaited.update(site_days)

    def take(self, limit: int, closed_before: int, buckets: Set[int] = EVERY_BUCKET) -> Sequence[DirtySiteDay]:
        """Return at most `limit` site-days in (site, day) order.

        Either all or none of a site's site-days are returned, unless the first site alone has more than `limit`.
        """
        with self._lock:
            marks, awaited = list(self._marks.values()), set(self._awaited)
        waiting = sorted(
            site_day
            for site_day in awaited | {mark.site_day for mark in marks}
            if site_day.day < closed_before and site_bucket(site_day.site) in buckets
        )
        return taken_of(whole_sites(waiting, limit), gathered(ranges_of(marks)))

    def clear(self, taken: DirtySiteDay) -> None:
        """Remove exactly the dirty marks in `taken`, and remove the site-day from the awaited days."""
        with self._lock:
            self._marks = {key: mark for key, mark in self._marks.items() if not _covers(taken, mark)}
            self._awaited.discard(taken.site_day)

    def pending(self, site: str) -> Sequence[DirtySiteDay]:
        """Return a site's days that have dirty marks."""
        return gathered(ranges_of(self.marks(site)))

    def awaited(self, site: str) -> Sequence[int]:
        """Return the days that `await_close` stored for the site, in ascending order."""
        with self._lock:
            return sorted(site_day.day for site_day in self._awaited if site_day.site == site)

    def marks(self, site: str) -> Sequence[DirtyMark]:
        """Return a site's dirty marks, ordered by (day, position)."""
        with self._lock:
            marks = [mark for mark in self._marks.values() if mark.site_day.site == site]
        return sorted(marks, key=lambda mark: (mark.site_day, mark.position))


def _covers(taken: DirtySiteDay, mark: DirtyMark) -> bool:
    log, partition, offset = mark.position
    return mark.site_day == taken.site_day and any(
        marks.partition == (log, partition) and marks.first_offset <= offset <= marks.last_offset
        for marks in taken.marks
    )
