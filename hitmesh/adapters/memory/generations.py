"""Which generation of a site-day is read, in memory."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hitmesh.adapters.shared.publication import published_generation, superseded_by
from hitmesh.model.errors import StaleGeneration
from hitmesh.model.generations import Drift, GenerationEntry, LedgerEntry
from hitmesh.model.positions import PartitionId
from hitmesh.model.sites import SiteDay


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
        self._drifts: dict[SiteDay, Drift] = {}

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
        drift: Drift | None = None,
    ) -> GenerationEntry:
        """Makes a generation current, with its ledger entry and carry; that of the stream where `drift` is confirmed.

        Raises:
            StaleGeneration: another entry was published since, or a later attempt; nothing was written.
            ValueError: the stream's rows would be confirmed though they were superseded.
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
            published = published_generation(generation, newest.generation if newest else None, drift)
            attempts.waiting -= stale | {generation}
            for old in stale | superseded_by(published, newest.generation if newest else None, drift):
                self._superseded[site_day, old] = now
            sequence = self._last_sequence(site_day.site) + 1
            entry = GenerationEntry(published, sequence, logic_version, dict(read_through), now)
            attempts.published = [one for one in attempts.published if one.entry.generation != published]
            attempts.published.append(_Published(entry, ledger, carry))
            if drift is not None:
                self._drifts.setdefault(site_day, drift)
            return entry

    def carry(self, site_day: SiteDay) -> bytes | None:
        """Returns the carry of the current generation; None when the site-day was never settled."""
        newest = self._newest(site_day.site, site_day.day, site_day.day + 1).get(site_day.day)
        return newest.carry if newest else None

    def ledger(self, site: str, first_day: int, end_day: int) -> Mapping[int, LedgerEntry]:
        """Returns the ledger entry of the current generation per day."""
        return {day: newest.ledger for day, newest in self._newest(site, first_day, end_day).items()}

    def drifts(self, site: str | None, first_day: int, end_day: int) -> Mapping[SiteDay, Drift]:
        """Returns the drift stored with the first entry that had one, per site-day; of one site, or of all."""
        with self._lock:
            return {
                site_day: drift
                for site_day, drift in sorted(self._drifts.items())
                if site in (None, site_day.site) and first_day <= site_day.day < end_day
            }

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
