"""Refused hits in memory."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from hitmesh.model.limits import CELL_MS
from hitmesh.model.positions import Position
from hitmesh.model.records import RejectedHit
from hitmesh.model.zones import DAY_MS


class MemoryRejectedStore:
    """A RejectedStore in memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hits: dict[tuple[Position, int], RejectedHit] = {}

    def put(self, hits: Sequence[RejectedHit]) -> None:
        """Store refusals; existing refusals stay unchanged."""
        with self._lock:
            for hit in hits:
                self._hits.setdefault((hit.position, hit.row), hit)

    def counts(self, site: str, day: int) -> Mapping[int, int]:
        """Return the number of refused hits per cell (start in UTC ms) on a UTC day of collect time (rule D5)."""
        cells: Counter[int] = Counter()
        for hit in self._of(site):
            if hit.collect_time // DAY_MS == day:
                cells[hit.collect_time // CELL_MS * CELL_MS] += hit.hits
        return {cell: hits for cell, hits in cells.items() if hits}

    def recent(self, site: str, limit: int) -> Sequence[RejectedHit]:
        """Return a site's newest refusals, newest first."""
        newest = sorted(self._of(site), key=lambda hit: (hit.collect_time, hit.position, hit.row), reverse=True)
        return newest[:limit]

    def drop_bytes(self, older_than_ms: int) -> int:
        """Empty `original` of refusals collected before `older_than_ms`; return the number of changed refusals."""
        with self._lock:
            old = {at: hit for at, hit in self._hits.items() if hit.collect_time < older_than_ms and hit.original}
            self._hits.update({at: replace(hit, original=b"") for at, hit in old.items()})
        return len(old)

    def erase_texts(self, site: str, wanted: Callable[[RejectedHit], bool]) -> int:
        """Empty the texts of the site's wanted refusals; return how many."""
        found = [hit for hit in self._of(site) if (hit.original or hit.message or hit.hit_id) and wanted(hit)]
        with self._lock:
            for hit in found:
                self._hits[hit.position, hit.row] = replace(hit, original=b"", message="", hit_id="")
        return len(found)

    def _of(self, site: str) -> list[RejectedHit]:
        with self._lock:
            return [hit for hit in self._hits.values() if hit.site == site]
