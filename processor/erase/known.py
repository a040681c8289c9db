"""Keeps the erasure marks in a process's memory. At intervals, the process reads new marks from the store."""

from __future__ import annotations

from typing import Final

from hitmesh.model.erasures import ErasureMark
from hitmesh.ports import Clock, Erasures, SiteDirectory
from processor.erase.visitors import ErasedVisitors

_OVERLAP_MS: Final = 600_000
"""After the first read, each erasure-mark read begins this many milliseconds before the newest known mark.

Processes' clocks differ, and a write takes time, so an earlier mark may become visible later.
"""

_NO_VISITORS: Final = ErasedVisitors(b"")


class KnownErasures:
    """Caches all marks. An instance must be used by one thread only.

    Args:
        erasures: the stored marks.
        directory: returns the mesh secret.
        clock: decides when the marks are read again.
        refresh_ms: the interval between two reads.
    """

    def __init__(self, erasures: Erasures, directory: SiteDirectory, clock: Clock, refresh_ms: int) -> None:
        self._erasures = erasures
        self._directory = directory
        self._clock = clock
        self._refresh_ms = refresh_ms
        self._marks: dict[tuple[str, str], ErasureMark] = {}
        self._read_at: int | None = None
        self._newest = 0
        self.visitors = _NO_VISITORS

    def refresh(self) -> ErasedVisitors:
        """If the last read of marks is older than the interval, read again. Return the visitors that new marks name.

        If a visitor has several marks, the mark with the latest `until` counts, in whatever order the marks were
        stored.

        Raises:
            RetryError: the store is unavailable.
        """
        now = self._clock.now()
        if self._read_at is not None and now - self._read_at < self._refresh_ms:
            return _NO_VISITORS
        found = self._erasures.since(0 if self._read_at is None else self._newest - _OVERLAP_MS)
        self._read_at = now
        self._newest = max([self._newest, *(mark.created_at for mark in found)])
        fresh = {(mark.site, mark.digest): mark for mark in found if self._reaches_further(mark)}
        if not fresh:
            return _NO_VISITORS
        self._marks |= fresh
        secret = self._directory.mesh_secret()
        self.visitors = ErasedVisitors(secret, self._marks.values())
        return ErasedVisitors(secret, fresh.values())

    def _reaches_further(self, mark: ErasureMark) -> bool:
        known = self._marks.get((mark.site, mark.digest))
        return known is None or known.until < mark.until
