"""Raw records and refused hits in memory."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from hitmesh.model.cells import CELL_MS
from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.records import RawRecord, RejectedHit
from hitmesh.model.zones import DAY_MS


class MemoryRawStore:
    """A RawStore in memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: dict[Position, RawRecord] = {}

    def put(self, records: Sequence[RawRecord]) -> None:
        """Store records; existing records stay unchanged."""
        with self._lock:
            for record in records:
                self._records.setdefault(record.position, record)

    def scan(
        self, site: str, first_day: int, end_day: int, before: Mapping[PartitionId, int] | None = None
    ) -> Iterator[RawRecord]:
        """Yield each record with hits of the site in [first_day, end_day) once, in log order."""
        with self._lock:
            found = [
                record
                for record in self._records.values()
                if any(day.site == site and first_day <= day.day < end_day for day in record.site_days)
            ]
        for record in sorted(found, key=lambda record: (record.log_time, record.position)):
            log, partition, offset = record.position
            if before is None or offset < before.get(PartitionId(log, partition), 0):
                yield record

    def get(self, position: Position) -> RawRecord | None:
        """Return the record at a position; None when absent."""
        with self._lock:
            return self._records.get(position)

    def days(self, site: str) -> Sequence[int]:
        """Return the UTC days on which the site has hits, ascending."""
        with self._lock:
            return sorted(
                {
                    site_day.day
                    for record in self._records.values()
                    for site_day in record.site_days
                    if site_day.site == site
                }
            )


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
        """Return refused hits per cell (start in ms) on a UTC day, both by collect time (rule D5)."""
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
        """Empty `original` of refusals collected before a time; return the number of changed refusals."""
        with self._lock:
            old = {at: hit for at, hit in self._hits.items() if hit.collect_time < older_than_ms and hit.original}
            self._hits.update({at: replace(hit, original=b"") for at, hit in old.items()})
        return len(old)

    def _of(self, site: str) -> list[RejectedHit]:
        with self._lock:
            return [hit for hit in self._hits.values() if hit.site == site]
