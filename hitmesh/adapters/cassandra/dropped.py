"""Keep the list of dropped generations per site-day.

Druid deletes rows late and must not answer from dropped generations.

For each site, the list is cached for a second.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Final

from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.model.sites import SiteDay

_KEPT_S: Final = 1.0
_MAX_KEPT: Final = 10_000

Dropped = frozenset[tuple[SiteDay, int]]


class DroppedRows:
    """The dropped generations. Thread-safe."""

    def __init__(self, session: CassandraSession) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[float, Dropped]] = {}

    def note(self, superseded: Sequence[tuple[SiteDay, int]]) -> None:
        """Store, durably, that these generations are dropped. Idempotent."""
        self._session.run_many(
            "INSERT INTO dropped_rows (site, day, generation) VALUES (?, ?, ?)",
            [(*site_day, generation) for site_day, generation in superseded],
        )
        with self._lock:
            for site_day, _ in superseded:
                self._kept.pop(site_day.site, None)

    def of(self, sites: Sequence[str]) -> set[tuple[SiteDay, int]]:
        """Return the dropped generations of these sites, from a list that is at most a second old."""
        now = time.monotonic()
        with self._lock:
            known = {site: self._kept[site][1] for site in sites if site in self._kept and self._kept[site][0] > now}
        missing = [site for site in sites if site not in known]
        answers = self._session.run_each(
            "SELECT site, day, generation FROM dropped_rows WHERE site = ?", [(site,) for site in missing]
        )
        found = {
            site: frozenset((SiteDay(row.site, row.day), row.generation) for row in rows)
            for site, rows in zip(missing, answers, strict=True)
        }
        with self._lock:
            if len(self._kept) + len(found) > _MAX_KEPT:
                self._kept = {}
            self._kept |= {site: (now + _KEPT_S, gone) for site, gone in found.items()}
        return {dropped for gone in (*known.values(), *found.values()) for dropped in gone}
