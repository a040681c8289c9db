"""Keep raw records in memory."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.records import RawRecord
from hitmesh.model.sites import SiteDay


class MemoryRawStore:
    """Implements the port RawStore in memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._records: dict[Position, RawRecord] = {}

    def put(self, records: Sequence[RawRecord]) -> None:
        """Store records; a record that is already stored stays unchanged."""
        with self._lock:
            for record in records:
                self._records.setdefault(record.position, record)

    def replace(self, record: RawRecord, seen: bytes | None = None) -> bool:
        """Replace a stored record's value and event times; return False if no such record is stored."""
        with self._lock:
            there = self._records.get(record.position)
            if there is None or seen not in (None, there.value):
                return False
            self._records[record.position] = replace(
                there,
                value=record.value,
                min_event_time=record.min_event_time,
                max_event_time=record.max_event_time,
            )
            return True

    def scan(
        self, site: str, first_day: int, end_day: int, before: Mapping[PartitionId, int] | None = None
    ) -> Iterator[RawRecord]:
        """Yield, in log order, the records with hits of the site on days in [first_day, end_day)."""
        return self.scan_sites((site,), first_day, end_day, before)

    def scan_sites(
        self,
        sites: Collection[str],
        first_day: int,
        end_day: int,
        before: Mapping[PartitionId, int] | None = None,
    ) -> Iterator[RawRecord]:
        """Yield, in log order, the records with hits of any of the sites on days in [first_day, end_day)."""
        wanted = frozenset(sites)
        with self._lock:
            found = [
                record
                for record in self._records.values()
                if any(day.site in wanted and first_day <= day.day < end_day for day in record.site_days)
            ]
        for record in sorted(found, key=lambda record: (record.log_time, record.position)):
            log, partition, offset = record.position
            if before is None or offset < before.get(PartitionId(log, partition), 0):
                yield record

    def salvage(
        self,
        site: str,
        first_day: int,
        end_day: int,
        before: Mapping[PartitionId, int] | None = None,
        after: Position | None = None,
    ) -> Iterator[tuple[Position, RawRecord | None]]:
        """Yield position and record for each record that `scan` finds after `after`, in order of position."""
        found = sorted(self.scan(site, first_day, end_day, before), key=lambda record: record.position)
        yield from ((record.position, record) for record in found if after is None or record.position > after)

    def restore(self, records: Sequence[RawRecord]) -> None:
        """Store records, and replace any existing records at the same positions."""
        with self._lock:
            self._records.update({record.position: record for record in records})

    def mend_index(self, site_day: SiteDay) -> None:
        """Do nothing, because this store has no index."""

    def get(self, position: Position) -> RawRecord | None:
        """Return the record at a position; None if there is no such record."""
        with self._lock:
            return self._records.get(position)

    def days(self, site: str) -> Sequence[int]:
        """Return the UTC days on which the site has hits, in ascending order."""
        with self._lock:
            return sorted(
                {
                    site_day.day
                    for record in self._records.values()
                    for site_day in record.site_days
                    if site_day.site == site
                }
            )
