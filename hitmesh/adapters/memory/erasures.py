"""Keep erasure marks in memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from hitmesh.model.erasures import ErasureMark


class MemoryErasures:
    """Implements the port Erasures in memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._marks: dict[tuple[str, str], ErasureMark] = {}

    def put(self, marks: Sequence[ErasureMark]) -> None:
        """Store erasure marks. For each visitor, only the mark with the latest `until` is kept."""
        with self._lock:
            for mark in marks:
                there = self._marks.get((mark.site, mark.digest))
                if there is None or there.until < mark.until:
                    self._marks[mark.site, mark.digest] = mark

    def of(self, site: str) -> Sequence[ErasureMark]:
        """Return the site's marks, ordered by digest."""
        with self._lock:
            return [self._marks[key] for key in sorted(self._marks) if key[0] == site]

    def since(self, created_at: int) -> Sequence[ErasureMark]:
        """Return all marks that were created at or after `created_at`, ordered by site and digest."""
        with self._lock:
            return [self._marks[key] for key in sorted(self._marks) if self._marks[key].created_at >= created_at]
