"""Keep reprocessings and their recomputed site-days in memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from hitmesh.adapters.shared.reprocessing_values import newest_first, taken
from hitmesh.model.reprocessings import OnDamage, Rebuilt, Reprocessing
from hitmesh.model.sites import SiteDay


class MemoryReprocessings:
    """Implements the port Reprocessings in memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reprocessings: dict[str, Reprocessing] = {}
        self._rebuilt: dict[str, dict[SiteDay, Rebuilt]] = {}

    def create(self, reprocessing: Reprocessing) -> None:
        """Store a new reprocessing.

        Raises:
            AlreadyExists: a reprocessing with this id exists.
        """
        with self._lock:
            if reprocessing.id in self._reprocessings:
                raise taken(reprocessing.id)
            self._reprocessings[reprocessing.id] = reprocessing

    def get(self, id_: str) -> Reprocessing | None:
        """Return the reprocessing with this id; None if there is no such reprocessing."""
        with self._lock:
            return self._reprocessings.get(id_)

    def all(self, on_damage: OnDamage | None = None) -> Sequence[Reprocessing]:
        """Return all reprocessings, newest first; values in memory are never damaged."""
        with self._lock:
            return newest_first(self._reprocessings.values())

    def replace(self, reprocessing: Reprocessing) -> bool:
        """Store a reprocessing if its version directly follows the stored version; return True if it is now stored."""
        with self._lock:
            there = self._reprocessings.get(reprocessing.id)
            if there is not None and there.version == reprocessing.version - 1:
                self._reprocessings[reprocessing.id] = reprocessing
                return True
            return there == reprocessing

    def remove(self, id_: str) -> None:
        """Remove a reprocessing with its recomputed site-days; idempotent."""
        with self._lock:
            self._reprocessings.pop(id_, None)
            self._rebuilt.pop(id_, None)

    def put(self, id_: str, rebuilt: Sequence[Rebuilt]) -> None:
        """Store recomputed site-days; a site-day that is stored already is replaced."""
        with self._lock:
            self._rebuilt.setdefault(id_, {}).update({value.site_day: value for value in rebuilt})

    def rebuilt(self, id_: str, after: SiteDay | None = None, limit: int = 1_000) -> Sequence[Rebuilt]:
        """Return at most `limit` recomputed site-days that follow `after`, in the order (site, day)."""
        with self._lock:
            stored = self._rebuilt.get(id_, {})
            following = sorted(site_day for site_day in stored if after is None or site_day > after)
            return [stored[site_day] for site_day in following[:limit]]
