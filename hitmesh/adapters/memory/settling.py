"""Dirty site-days, generations and order claims in memory."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from hitmesh.adapters.marks import gathered, ranges_of, whole_sites
from hitmesh.errors import StaleGeneration
from hitmesh.ports import (
    DirtyMark,
    DirtySiteDay,
    GenerationEntry,
    LedgerEntry,
    OrderClaim,
    PartitionId,
    Position,
    SiteDay,
)


class MemoryDirtyDays:
    """A DirtyDays."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._marks: dict[tuple[SiteDay, Position], DirtyMark] = {}

    def mark(self, marks: Sequence[DirtyMark]) -> None:
        """Adds marks. Marking twice is marking once."""
        with self._lock:
            for mark in marks:
                self._marks.setdefault((mark.site_day, mark.position), mark)

    def take(self, limit: int) -> Sequence[DirtySiteDay]:
        """Returns at most `limit` dirty site-days by (site, day); cuts no site in two unless it alone is longer."""
        with self._lock:
            dirty = gathered(ranges_of(self._marks.values()))
        taken = set(whole_sites([one.site_day for one in dirty], limit))
        return [one for one in dirty if one.site_day in taken]

    def clear(self, taken: DirtySiteDay) -> None:
        """Removes the marks in `taken`, and only those: marks behind its ranges stay."""
        with self._lock:
            self._marks = {key: mark for key, mark in self._marks.items() if not _covers(taken, mark)}

    def pending(self, site: str) -> Sequence[DirtySiteDay]:
        """Returns what waits for a site."""
        with self._lock:
            marks = [mark for mark in self._marks.values() if mark.site_day.site == site]
        return gathered(ranges_of(marks))


def _covers(taken: DirtySiteDay, mark: DirtyMark) -> bool:
    log, partition, offset = mark.position
    return mark.site_day == taken.site_day and any(
        marks.partition == (log, partition) and marks.first_offset <= offset <= marks.last_offset
        for marks in taken.marks
    )


@dataclass(frozen=True, slots=True)
class _Published:
    entry: GenerationEntry
    ledger: LedgerEntry
    carry: bytes


@dataclass(slots=True)
class _Attempts:
    """What is known of a site-day: numbers given out, those not published yet, entries by sequence."""

    last: int = 0
    waiting: set[int] = field(default_factory=set)
    published: list[_Published] = field(default_factory=list)


class MemoryGenerations:
    """A Generations. An attempt that began before the current generation can no longer be published."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._attempts: dict[SiteDay, _Attempts] = {}
        self._superseded: dict[tuple[SiteDay, int], int] = {}

    def begin(self, site_day: SiteDay) -> int:
        """Returns a generation number never returned before for the site-day."""
        with self._lock:
            attempts = self._attempts.setdefault(site_day, _Attempts())
            attempts.last += 1
            attempts.waiting.add(attempts.last)
            return attempts.last

    def current(self, site: str, first_day: int, end_day: int) -> Mapping[int, GenerationEntry]:
        """Returns the winning entry per day that has one."""
        return {day: newest.entry for day, newest in self._newest(site, first_day, end_day).items()}

    def publish(
        self,
        site_day: SiteDay,
        generation: int,
        *,
        logic_version: int,
        read_through: Mapping[PartitionId, int],
        seen_sequence: int,
        ledger: LedgerEntry,
        carry: bytes,
        now: int,
    ) -> GenerationEntry:
        """Makes a generation current, with its ledger entry and carry.

        Raises:
            StaleGeneration: another entry was published since, or a later attempt; nothing was written.
        """
        with self._lock:
            attempts = self._attempts.setdefault(site_day, _Attempts())
            newest = attempts.published[-1].entry if attempts.published else None
            if (newest.sequence if newest else 0) != seen_sequence:
                raise StaleGeneration(f"{site_day} was published since {seen_sequence} was seen; scan again")
            if generation not in attempts.waiting:
                raise StaleGeneration(
                    f"{site_day}: generation {generation} does not wait to be published; begin a new one"
                )
            stale = {waiting for waiting in attempts.waiting if waiting < generation}
            attempts.waiting -= stale | {generation}
            for old in stale | ({newest.generation} if newest else set()):
                self._superseded[site_day, old] = now
            sequence = self._last_sequence(site_day.site) + 1
            entry = GenerationEntry(generation, sequence, logic_version, dict(read_through), now)
            attempts.published.append(_Published(entry, ledger, carry))
            return entry

    def carry(self, site_day: SiteDay) -> bytes | None:
        """Returns the carry of the current generation; None when the site-day was never settled."""
        newest = self._newest(site_day.site, site_day.day, site_day.day + 1).get(site_day.day)
        return newest.carry if newest else None

    def ledger(self, site: str, first_day: int, end_day: int) -> Mapping[int, LedgerEntry]:
        """Returns the ledger entry of the current generation per day."""
        return {day: newest.ledger for day, newest in self._newest(site, first_day, end_day).items()}

    def sequence(self, site: str) -> int:
        """Returns the highest sequence of the site; 0 without any."""
        with self._lock:
            return self._last_sequence(site)

    def superseded(self, published_before: int) -> Sequence[tuple[SiteDay, int]]:
        """Returns generations, published or not, whose successor was published before that time."""
        with self._lock:
            return sorted(key for key, time in self._superseded.items() if time < published_before)

    def forget(self, site_day: SiteDay, generation: int) -> None:
        """Forgets a superseded generation; any other stays."""
        with self._lock:
            if self._superseded.pop((site_day, generation), None) is not None:
                attempts = self._attempts[site_day]
                attempts.published = [one for one in attempts.published if one.entry.generation != generation]

    def _newest(self, site: str, first_day: int, end_day: int) -> dict[int, _Published]:
        with self._lock:
            return {
                site_day.day: attempts.published[-1]
                for site_day, attempts in sorted(self._attempts.items())
                if site_day.site == site and first_day <= site_day.day < end_day and attempts.published
            }

    def _last_sequence(self, site: str) -> int:
        return max(
            (
                one.entry.sequence
                for site_day, attempts in self._attempts.items()
                if site_day.site == site
                for one in attempts.published
            ),
            default=0,
        )


class MemoryOrderClaims:
    """An OrderClaims."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._claims: dict[tuple[Position, int], OrderClaim] = {}

    def claim(self, claims: Sequence[OrderClaim]) -> None:
        """Stores claims; those that are there stay as they are."""
        with self._lock:
            for claim in claims:
                self._claims.setdefault((claim.position, claim.row), claim)

    def of(self, site: str, order_ids: Sequence[str]) -> Sequence[OrderClaim]:
        """Returns all claims on these orders in log order (log time, log, partition, offset, row)."""
        wanted = set(order_ids)
        with self._lock:
            found = [claim for claim in self._claims.values() if claim.site == site and claim.order_id in wanted]
        return sorted(found, key=lambda claim: (claim.log_time, claim.position, claim.row))

    def set_duplicates(self, site: str, verdicts: Mapping[tuple[Position, int], bool]) -> None:
        """Records which claims are of duplicate hits."""
        with self._lock:
            for key, duplicate in verdicts.items():
                claim = self._claims.get(key)
                if claim is not None and claim.site == site:
                    self._claims[key] = replace(claim, duplicate=duplicate)
