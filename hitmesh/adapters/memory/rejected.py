"""Keep refused hits in memory."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

from hitmesh.model.limits import CELL_MS
from hitmesh.model.positions import Position
from hitmesh.model.records import RejectedHit
from hitmesh.model.refusals import (
    RefusalKey,
    RefusalPage,
    RefusalRange,
    is_after,
    key_of,
    list_order,
    newest_first,
)
from hitmesh.model.zones import DAY_MS


class MemoryRejectedStore:
    """Implements the port RejectedStore in memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hits: dict[tuple[Position, int], RejectedHit] = {}

    def put(self, hits: Sequence[RejectedHit]) -> None:
        """Store refusals; a refusal that is already stored stays unchanged."""
        with self._lock:
            for hit in hits:
                self._hits.setdefault((hit.position, hit.row), hit)

    def counts(self, site: str, day: int) -> Mapping[int, int]:
        """Return the number of refused hits per cell on a UTC day of collect time, keyed by cell start (UTC ms)."""
        cells: Counter[int] = Counter()
        for hit in self._of(site):
            if hit.collect_time // DAY_MS == day:
                cells[hit.collect_time // CELL_MS * CELL_MS] += hit.hits
        return {cell: hits for cell, hits in cells.items() if hits}

    def recent(self, site: str, limit: int) -> Sequence[RejectedHit]:
        """Return a site's newest refusals, newest first."""
        newest = sorted(self._of(site), key=lambda hit: (hit.collect_time, hit.position, hit.row), reverse=True)
        return newest[:limit]

    def page(self, wanted: RefusalRange, after: RefusalKey | None, limit: int) -> RefusalPage:
        """Return at most `limit` refusals that follow the key `after`, in list order."""
        with self._lock:
            inside = [hit for hit in self._hits.values() if wanted.since <= hit.collect_time < wanted.until]
        found = [hit for hit in inside if wanted.site in (None, hit.site)]
        found = [hit for hit in found if after is None or is_after(key_of(hit), after)]
        found.sort(key=lambda hit: newest_first(key_of(hit)), reverse=True)
        found.sort(key=lambda hit: list_order(key_of(hit)))
        page = found[:limit]
        return RefusalPage(page, key_of(page[-1]) if len(found) > limit else None)

    def get(self, key: RefusalKey) -> RejectedHit | None:
        """Return the refusal with this key; None if there is no such refusal."""
        with self._lock:
            hit = self._hits.get((key.position, key.row))
        return hit if hit is not None and key_of(hit) == key else None

    def note_replayed(self, key: RefusalKey, at: int) -> bool:
        """Store that a replay was accepted; return whether the refusal exists."""
        hit = self.get(key)
        if hit is None:
            return False
        with self._lock:
            self._hits[key.position, key.row] = replace(hit, replayed_at=at)
        return True

    def drop_bytes(self, older_than_ms: int) -> int:
        """Empty the bytes of refusals collected before `older_than_ms`; return the number of changed refusals."""
        with self._lock:
            old = {at: hit for at, hit in self._hits.items() if hit.collect_time < older_than_ms and hit.original}
            self._hits.update({at: replace(hit, original=b"", origin=None) for at, hit in old.items()})
        return len(old)

    def erase_texts(self, site: str, wanted: Callable[[RejectedHit], bool]) -> Iterator[int]:
        """Erase the texts of the site's refusals that `wanted` selects; yield the number of changed refusals."""
        found = [hit for hit in self._of(site) if (hit.original or hit.message or hit.hit_id) and wanted(hit)]
        with self._lock:
            for hit in found:
                self._hits[hit.position, hit.row] = replace(hit, original=b"", message="", hit_id="", origin=None)
        yield len(found)

    def _of(self, site: str) -> list[RejectedHit]:
        with self._lock:
            return [hit for hit in self._hits.values() if hit.site == site]
