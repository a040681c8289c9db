"""Reprocessings and their recomputed site-days, in memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from hitmesh.model.errors import AlreadyExists
from hitmesh.model.reprocessings import Rebuilt, Reprocessing
from hitmesh.model.sites import SiteDay


class MemoryReprocessings:
    """Implementation of Reprocessings in memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stored: dict[str, Reprocessing] = {}
        self._rebuilt: dict[str, dict[SiteDay, Rebuilt]] = {}

    def create(self, reprocessing: Reprocessing) -> None:
        """Store a new reprocessing."""
        with self._lock:
            if reprocessing.id in self._stored:
                raise AlreadyExists(f"reprocessing {reprocessing.id} exists", value=reprocessing.id)
            self._stored[reprocessing.id] = reprocessing

    def get(self, id_: str) -> Reprocessing | None:
        """Return a reprocessing; None if there is none with this id."""
        with self._lock:
            return self._stored.get(id_)

    def all(self) -> Sequence[Reprocessing]:
        """Return all reprocessings, newest first."""
        with self._lock:
            return sorted(self._stored.values(), key=lambda each: (each.created_at, each.id), reverse=True)

    def replace(self, reprocessing: Reprocessing) -> bool:
        """Replace the stored value whose version is below the given version by 1; return whether that succeeded."""
        with self._lock:
            stored = self._stored.get(reprocessing.id)
            if stored == reprocessing:
                return True
            if stored is None or stored.version != reprocessing.version - 1:
                return False
            self._stored[reprocessing.id] = reprocessing
            return True

    def remove(self, id_: str) -> None:
        """Remove a reprocessing with its recomputed site-days."""
        with self._lock:
            self._stored.pop(id_, None)
            self._rebuilt.pop(id_, None)

    def put(self, id_: str, rebuilt: Sequence[Rebuilt]) -> None:
        """Store recomputed site-days; a site-day that is stored already is replaced."""
        with self._lock:
            self._rebuilt.setdefault(id_, {}).update({each.site_day: each for each in rebuilt})

    def rebuilt(self, id_: str, after: SiteDay | None = None, limit: int = 1_000) -> Sequence[Rebuilt]:
        """Return at most `limit` recomputed site-days that follow `after`, in the order (site, day)."""
        with self._lock:
            found = sorted(self._rebuilt.get(id_, {}).items())
        return [each for site_day, each in found if after is None or site_day > after][:limit]
