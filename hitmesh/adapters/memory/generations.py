"""Keep the current generation of each site-day in memory."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hitmesh.adapters.shared.past_entries import RecordedEntry, past_entries, recorded
from hitmesh.adapters.shared.publication import (
    beyond_limit,
    is_restored,
    published_generation,
    refuse_changed_site,
    replaced_by_restore,
    restored_entry,
    superseded_by,
)
from hitmesh.model.errors import StaleGeneration
from hitmesh.model.generations import FIRST_STREAM, Drift, GenerationEntry, LedgerEntry
from hitmesh.model.history import PastEntry, RetiredGeneration, newest_entries, replaced_times
from hitmesh.model.positions import PartitionId
from hitmesh.model.reprocessings import GenerationVersion
from hitmesh.model.sites import SiteDay
from hitmesh.ports.settling import SUPERSEDED_PAGE


@dataclass(frozen=True, slots=True)
class _Published:
    entry: GenerationEntry
    ledger: LedgerEntry
    carry: bytes


@dataclass(slots=True)
class _Attempts:
    """A site-day's state: last attempt number, pending attempt numbers, kept entries by sequence, recorded entries."""

    last: int = 0
    waiting: set[int] = field(default_factory=set)
    published: list[_Published] = field(default_factory=list)
    past: tuple[RecordedEntry, ...] = ()

    def put(self, newest: _Published) -> None:
        """Make an entry current; an earlier entry of the same generation is removed."""
        self.remove(newest.entry.generation)
        self.published.append(newest)
        self.past = newest_entries((*self.past, recorded(newest.entry)))

    def remove(self, generation: int) -> None:
        """Remove a generation's entry."""
        self.published = [there for there in self.published if there.entry.generation != generation]


class MemoryGenerations:
    """Implements the port Generations in memory.

    A publication supersedes all earlier attempts for the site-day. Superseded attempts can no longer be published.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._attempts: dict[SiteDay, _Attempts] = {}
        self._superseded: dict[tuple[SiteDay, int], int] = {}
        self._drifts: dict[SiteDay, Drift] = {}

    def begin(self, site_day: SiteDay) -> int:
        """Return a new generation number; no number is returned twice for the same site-day."""
        with self._lock:
            attempts = self._attempts.setdefault(site_day, _Attempts())
            attempts.last += 1
            attempts.waiting.add(attempts.last)
            return attempts.last

    def current(self, site: str, first_day: int, end_day: int) -> Mapping[int, GenerationEntry]:
        """Return the current entry of each day that has an entry."""
        return {day: newest.entry for day, newest in self._newest(site, first_day, end_day).items()}

    def history(self, site: str, first_day: int, end_day: int) -> Mapping[int, Sequence[PastEntry]]:
        """Return the entries of each day that has an entry."""
        with self._lock:
            return {
                site_day.day: self._past(site_day)
                for site_day, attempts in sorted(self._attempts.items())
                if site_day.site == site and first_day <= site_day.day < end_day and attempts.past
            }

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
        keep_until: int = 0,
        seen_site_sequence: int | None = None,
        rules_version: int = 0,
        streams: Sequence[int] = FIRST_STREAM,
    ) -> GenerationEntry:
        """Make a generation current, with its ledger entry and open visits (carry).

        If `drift.confirmed` is true, the stream's generation becomes current; otherwise, the attempt's generation does.

        Raises:
            StaleGeneration: an entry was published after `seen_sequence` was read, or the attempt is no longer pending;
                nothing was written.
            ValueError: `drift.confirmed` is true, but an earlier publication superseded the stream's rows.
        """
        with self._lock:
            attempts = self._attempts.setdefault(site_day, _Attempts())
            newest = attempts.published[-1].entry if attempts.published else None
            if (newest.sequence if newest else 0) != seen_sequence:
                raise StaleGeneration(f"{site_day} has a newer entry than sequence {seen_sequence}; scan again")
            refuse_changed_site(site_day.site, self._last_sequence(site_day.site), seen_site_sequence)
            if generation not in attempts.waiting:
                raise StaleGeneration(f"{site_day}: generation {generation} is not pending; begin a new generation")
            stale = {waiting for waiting in attempts.waiting if waiting < generation}
            published = published_generation(generation, newest.generation if newest else None, drift, streams)
            attempts.waiting -= stale | {generation}
            self._superseded |= {(site_day, old): now for old in stale}
            replaced = superseded_by(published, newest.generation if newest else None, drift, streams)
            self._superseded |= {(site_day, old): max(now, keep_until) for old in replaced}
            self._limit(site_day, now)
            sequence = self._last_sequence(site_day.site) + 1
            entry = GenerationEntry(published, sequence, logic_version, dict(read_through), now, rules_version)
            attempts.put(_Published(entry, ledger, carry))
            if drift is not None:
                self._drifts.setdefault(site_day, drift)
            return entry

    def restore(
        self,
        site_day: SiteDay,
        version: GenerationVersion,
        *,
        seen_sequence: int,
        now: int,
        keep_until: int,
    ) -> GenerationEntry:
        """Make a replaced generation current again, with its ledger entry and open visits (carry).

        Raises:
            StaleGeneration: an entry was published after `seen_sequence` was read, or the generation is no longer kept;
                nothing was written.
        """
        with self._lock:
            attempts = self._attempts.setdefault(site_day, _Attempts())
            newest = attempts.published[-1] if attempts.published else None
            entry = newest.entry if newest else None
            if newest and is_restored(version, seen_sequence, entry, newest.ledger) and newest.carry == version.carry:
                return newest.entry
            kept_until = self._superseded.get((site_day, version.generation))
            replaced = replaced_by_restore(site_day, version.generation, seen_sequence, entry, kept_until, now)
            self._superseded[site_day, replaced] = max(now, keep_until)
            del self._superseded[site_day, version.generation]
            self._limit(site_day, now)
            sequence = self._last_sequence(site_day.site) + 1
            entry = restored_entry(version, sequence, now)
            attempts.put(_Published(entry, version.ledger, version.carry))
            return entry

    def abandon(self, site: str, first_day: int, end_day: int, *, now: int, keep_until: int = 0) -> int:
        """Supersede all unpublished attempts for these days."""
        with self._lock:
            waiting = {
                (site_day, generation)
                for site_day, attempts in self._attempts.items()
                if site_day.site == site and first_day <= site_day.day < end_day
                for generation in attempts.waiting
            }
            self._superseded |= dict.fromkeys(waiting, max(now, keep_until))
            for site_day, generation in waiting:
                self._attempts[site_day].waiting.discard(generation)
            return len(waiting)

    def carry(self, site_day: SiteDay) -> bytes | None:
        """Return the current generation's open visits (carry); None if the site-day was never settled."""
        newest = self._newest(site_day.site, site_day.day, site_day.day + 1).get(site_day.day)
        return newest.carry if newest else None

    def ledger(self, site: str, first_day: int, end_day: int) -> Mapping[int, LedgerEntry]:
        """Return the ledger entry of each day's current generation."""
        return {day: newest.ledger for day, newest in self._newest(site, first_day, end_day).items()}

    def drifts(self, site: str | None, first_day: int, end_day: int) -> Mapping[SiteDay, Drift]:
        """Return each site-day's oldest stored drift between settlement and stream; `site` None selects all sites."""
        with self._lock:
            return {
                site_day: drift
                for site_day, drift in sorted(self._drifts.items())
                if site in (None, site_day.site) and first_day <= site_day.day < end_day
            }

    def sequence(self, site: str) -> int:
        """Return the site's highest sequence; 0 if the site has no entry."""
        with self._lock:
            return self._last_sequence(site)

    def superseded(
        self, published_before: int, after: tuple[SiteDay, int] | None = None, limit: int = SUPERSEDED_PAGE
    ) -> Sequence[tuple[SiteDay, int]]:
        """Return a page of the generations that became superseded before the time `published_before`."""
        with self._lock:
            due = (key for key, time in self._superseded.items() if time < published_before)
            return sorted(key for key in due if after is None or key > after)[:limit]

    def retired(self, site: str | None, after: SiteDay | None, limit: int) -> Sequence[RetiredGeneration]:
        """Return the superseded generations of site-days that follow `after`, in the order (site, day)."""
        with self._lock:
            of_sites = {site_day for site_day, _ in self._superseded if site in (None, site_day.site)}
            page = sorted(site_day for site_day in of_sites if after is None or site_day > after)[:limit]
            return [
                RetiredGeneration(
                    site_day, generation, kept_until, replaced_times(self._past(site_day)).get(generation)
                )
                for site_day in page
                for generation, kept_until in sorted(self._replaced(site_day).items())
            ]

    def retire(self, site_day: SiteDay, now: int) -> Sequence[int]:
        """Make all replaced generations of a site-day superseded, at `now` at the latest; return the generations."""
        with self._lock:
            found = sorted(key for key in self._superseded if key[0] == site_day)
            self._superseded |= {key: min(self._superseded[key], now) for key in found}
        return [generation for _, generation in found]

    def forget(self, site_day: SiteDay, generation: int) -> None:
        """Delete what is stored for a superseded generation; do nothing for any other generation."""
        with self._lock:
            if self._superseded.pop((site_day, generation), None) is not None:
                self._attempts[site_day].remove(generation)

    def _newest(self, site: str, first_day: int, end_day: int) -> dict[int, _Published]:
        with self._lock:
            return {
                site_day.day: attempts.published[-1]
                for site_day, attempts in sorted(self._attempts.items())
                if site_day.site == site and first_day <= site_day.day < end_day and attempts.published
            }

    def _past(self, site_day: SiteDay) -> tuple[PastEntry, ...]:
        return past_entries(self._attempts[site_day].past, self._replaced(site_day))

    def _replaced(self, site_day: SiteDay) -> dict[int, int]:
        """Return the site-day's replaced generations with the times at which they become superseded."""
        return {generation: at for (of_day, generation), at in self._superseded.items() if of_day == site_day}

    def _limit(self, site_day: SiteDay, now: int) -> None:
        """Keep up to MAX_KEPT_GENERATIONS replaced generations of the site-day.

        The site-day's other replaced generations are superseded from `now` on.
        """
        self._superseded |= {(site_day, old): now for old in beyond_limit(self._replaced(site_day), now)}

    def _last_sequence(self, site: str) -> int:
        return max(
            (
                publication.entry.sequence
                for site_day, attempts in self._attempts.items()
                if site_day.site == site
                for publication in attempts.published
            ),
            default=0,
        )
