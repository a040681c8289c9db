"""Reads the sites' settlement state (standing), and remembers the state in case the stores become unavailable.

The order of reads makes `complete_through` correct (rule P15): first progress, then waiting days, then version and
generations, then rows. Each hit that the progress covers is in one of three states: counted by the live stream, waiting
for settlement, or in a generation that was published before the hit's dirty mark was cleared. A remembered settlement
state is valid only up to the progress that was read before the state.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from hitmesh.model.errors import Unavailable
from hitmesh.model.logic import logic_numbered
from hitmesh.model.placement import Progress, all_offsets, data_version, offsets_of
from hitmesh.model.positions import Topic
from hitmesh.model.sites import Site, SiteDay
from hitmesh.model.streams import FIRST, NO_SHADOW, StreamTable
from hitmesh.model.zones import DAY_MS
from hitmesh.ports import DirtyDays, Erasures, Generations, OneStream, ProgressReader, Streams, StreamStore
from reporter.answer.freshness import Waiting, min_progress
from reporter.answer.pins import Pin, Settled, entries_at, pin_of, token_of

MAX_AGE_MS: Final = 5 * 60_000
MAX_KEPT: Final = 4_096
MAX_KEPT_DAYS: Final = 500_000
_KEPT_OF_SITES: Final = 4
NO_DAYS: Final = range(0)


@dataclass(frozen=True, slots=True)
class Reach:
    """A store's progress in the hits topic and, if the store reports it, in the refusals topic.

    `streams` is the stream table, which is read before the progress. `hits` and `refusals` are the progress of the
    table's current stream, which reports read. An answer reads only streams that the stream table contains.
    """

    hits: Progress
    refusals: Progress | None = None
    streams: StreamTable = NO_SHADOW

    def holds(self, sites: Sequence[Site], committed: Reach) -> bool:
        """Return whether the store holds exactly the committed records of some sites, no fewer and no more."""
        mine, all_of_it = offsets_of(sites, self.hits), offsets_of(sites, committed.hits)
        return mine == all_of_it and (
            self.refusals is None or all_offsets(self.refusals) == all_offsets(committed.refusals)
        )


@dataclass(frozen=True, slots=True)
class Standing:
    """The settlement state of some sites.

    Attributes:
        progress: the answering store's progress, read before all other fields.
        waiting: unsettled days by site name.
        sequences: the highest sequence of each site plus the version of the stream table, as a single sum. The sum is
            read before the generations.
        version: the version of the sites' metric values (hitmesh.model.placement.data_version). For a report at an
            earlier version, `version` is the requested version.
        is_caught_up: whether the store held all committed records. If true, the version determines the metric values.
        days: the UTC days whose generations were read.
        generations: the generation to read for each site-day in `days` that has rows.
        logics: the days with a settled generation, keyed by the number of the generation's logic version.
        read_at: time of the read, UTC ms.
        pin: the version of the settled entries in `days`, or None if a day waits for settlement. A later report can
            request this version if every day is closed.
        is_remembered: whether the standing was read for an earlier question, because a store is unavailable now.
    """

    progress: Progress
    waiting: Mapping[str, Waiting]
    sequences: int
    version: str
    is_caught_up: bool
    days: range
    generations: Mapping[SiteDay, int]
    logics: Mapping[int, frozenset[int]]
    read_at: int
    pin: Pin | None = None
    is_remembered: bool = False

    @property
    def logic_versions(self) -> tuple[str, ...]:
        """The names of the logic versions that computed the settled days in `days`, sorted."""
        names = {logic_numbered(number).name for number, days in self.logics.items() if not days.isdisjoint(self.days)}
        return tuple(sorted(names))

    @property
    def settled_days(self) -> frozenset[int]:
        """The UTC days on which any of the sites has a settled generation."""
        return frozenset[int]().union(*self.logics.values())

    def within(self, days: range, progress: Progress) -> Standing:
        """Return a copy of this standing for a later question about `days`; `progress` is the store's current progress.

        Hits that arrived after this standing was read may wait for settlement. The result's progress is therefore the
        minimum of this standing's progress and `progress`.
        """
        generations = {
            site_day: generation for site_day, generation in self.generations.items() if site_day.day in days
        }
        both = min_progress(self.progress, progress)
        return replace(self, progress=both, is_caught_up=False, days=days, generations=generations, is_remembered=True)


class LastKnown:
    """A cache of the latest standings for each tuple of sites, valid for five minutes. Thread-safe and bounded."""

    def __init__(self, max_kept: int = MAX_KEPT, max_days: int = MAX_KEPT_DAYS) -> None:
        self._max_kept = max_kept
        self._max_days = max_days
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, ...], tuple[Standing, ...]] = OrderedDict()
        self._days = 0

    def keep(self, sites: tuple[str, ...], standing: Standing) -> None:
        """Store the settlement state (standing) of some sites. If the cache is full, evict the oldest entries."""
        with self._lock:
            before = self._kept.pop(sites, ())
            others = [earlier for earlier in before if not _covers(standing.days, earlier.days)]
            kept = (standing, *others)[:_KEPT_OF_SITES]
            self._days += _size(kept) - _size(before)
            self._kept[sites] = kept
            while len(self._kept) > self._max_kept or self._days > self._max_days:
                self._days -= _size(self._kept.popitem(last=False)[1])

    def of(self, sites: tuple[str, ...], days: range, now_ms: int) -> Standing | None:
        """Return the newest standing for these sites that covers the days and is not too old, or None."""
        with self._lock:
            kept = self._kept.get(sites, ())
        fresh = (
            standing for standing in kept if _covers(standing.days, days) and now_ms - standing.read_at <= MAX_AGE_MS
        )
        return max(fresh, key=lambda standing: standing.read_at, default=None)


@dataclass(frozen=True, slots=True)
class Books:
    """The implementations of hitmesh.ports that provide settlement state."""

    dirty: DirtyDays
    generations: Generations
    progress: ProgressReader
    erasures: Erasures
    streams: Streams
    stream: OneStream

    def current_stream(self, table: StreamTable) -> StreamStore | None:
        """Return the stores of the stream that reports read.

        If reports read the first stream, return None, because Backend has the stores of the first stream.
        """
        current = table.current
        if table.shadow is not None and not table.shadow.is_read:
            # On Druid, this call starts the search for the shadow stream's progress marks, so that the marks are known
            # before reports read the shadow stream.
            self.stream(table.shadow.stream.generation, is_shadow=True).ingested_through()
        return None if current == FIRST else self.stream(current.generation, is_shadow=current is not table.live)

    def read(self, sites: Sequence[Site], days: range, reach: Reach, now_ms: int) -> Standing:
        """Read and return the sites' settlement state (standing), in the order that rule P15 needs.

        The caller must read `reach` before this call.
        """
        waiting = self.waiting(sites)
        committed = self.committed(reach.streams)
        sequences = self.sequences(sites, reach.streams)
        entries = self._current(sites, days)
        return Standing(
            progress=reach.hits,
            waiting=waiting,
            sequences=sequences,
            version=data_version(sites, committed.hits, committed.refusals, sequences),
            is_caught_up=reach.holds(sites, committed),
            days=days,
            generations=_streamed(waiting, days, reach.streams) | _numbers(entries),
            logics=_logics(entries),
            read_at=now_ms,
            pin=None if _waits(waiting, days) else pin_of(sites, days, entries),
        )

    def read_pinned(self, sites: Sequence[Site], days: range, pin: Pin, now_ms: int) -> Standing:
        """Return the sites' settlement state (standing) at an earlier version.

        Raises:
            RefusedError: the version is no longer kept (DATA_VERSION_EXPIRED, DATA_VERSION_ERASED).
        """
        histories = [self.generations.history(site.name, pin.days.start, pin.days.stop) for site in sites]
        found = entries_at(pin, sites, histories, now_ms, self.erasures.of)
        entries = {site_day: entry for site_day, entry in found.items() if site_day.day in days}
        return Standing(
            progress={},
            waiting={},
            sequences=0,
            version=token_of(pin, sites),
            is_caught_up=True,
            days=days,
            generations=_numbers(entries),
            logics=_logics(entries),
            read_at=now_ms,
            pin=pin,
        )

    def committed(self, table: StreamTable) -> Reach:
        """Return the committed positions of the stream that reports read, in every declared partition."""
        stream = self.current_stream(table)
        progress = self.progress if stream is None else stream.progress
        return Reach(progress.progress(Topic.HITS), progress.progress(Topic.REJECTED), table)

    def waiting(self, sites: Sequence[Site]) -> dict[str, Waiting]:
        """Return the unsettled days per site name."""
        return {site.name: Waiting(self.dirty.pending(site.name), self.dirty.awaited(site.name)) for site in sites}

    def version(self, sites: Sequence[Site]) -> str:
        """Return the version of the sites' metric values."""
        table = self.streams.read()
        committed = self.committed(table)
        return data_version(sites, committed.hits, committed.refusals, self.sequences(sites, table))

    def sequences(self, sites: Sequence[Site], table: StreamTable | None = None) -> int:
        """Return the sum of two numbers: the total of the sites' highest sequences, and the stream table's version.

        The result changes whenever a generation or a shadow stream is published.
        """
        table = self.streams.read() if table is None else table
        return table.version + sum(self.generations.sequence(site.name) for site in sites)

    def _current(self, sites: Sequence[Site], days: range) -> dict[SiteDay, Settled]:
        """Return the current entry of each site-day that has an entry."""
        if not days:
            return {}
        return {
            SiteDay(site.name, day): Settled(entry.sequence, entry.generation, entry.logic_version, entry.published_at)
            for site in sites
            for day, entry in self.generations.current(site.name, days.start, days.stop).items()
        }


def _streamed(waiting: Mapping[str, Waiting], days: range, table: StreamTable) -> dict[SiteDay, int]:
    """Return the stream generation to read for each site-day in `days` that awaits settlement and has no entry.

    The stream first stores that a day awaits settlement, and then stores the day's first rows. `waiting` must be read
    before the entries: settlement first publishes an entry, and then removes the day from `waiting`.
    """
    return {
        SiteDay(site, day): table.generation(day)
        for site, of_site in waiting.items()
        for day in of_site.awaited
        if day in days
    }


def _waits(waiting: Mapping[str, Waiting], days: range) -> bool:
    """Return whether any site-day in `days` waits for settlement."""
    return any(
        any(day in days for day in of_site.awaited) or any(dirty.site_day.day in days for dirty in of_site.marked)
        for of_site in waiting.values()
    )


def _numbers(entries: Mapping[SiteDay, Settled]) -> dict[SiteDay, int]:
    return {site_day: entry.generation for site_day, entry in entries.items()}


def _logics(entries: Mapping[SiteDay, Settled]) -> dict[int, frozenset[int]]:
    """Return the settled days of each logic version, keyed by the version's number."""
    logics: dict[int, set[int]] = {}
    for site_day, entry in entries.items():
        logics.setdefault(entry.logic_version, set()).add(site_day.day)
    return {number: frozenset(days) for number, days in logics.items()}


def days_between(start: int, end: int) -> range:
    """Return the UTC days that the range [start, end) in UTC ms touches; no days if the range is empty."""
    return range(start // DAY_MS, -(-end // DAY_MS)) if start < end else NO_DAYS


def remembered(
    known: LastKnown, sites: Sequence[Site], days: range, progress: Progress, now_ms: int, cause: Unavailable
) -> Standing:
    """Return the newest remembered standing that covers the sites and days.

    Raises:
        Unavailable: no standing is remembered, or the remembered standing is too old; `cause` is the raised error.
    """
    found = known.of(tuple(site.name for site in sites), days, now_ms)
    if found is None:
        raise cause
    return found.within(days, progress)


def _covers(days: range, other: range) -> bool:
    return not other or (days.start <= other.start and other.stop <= days.stop)


def _size(kept: Sequence[Standing]) -> int:
    return sum(1 + len(standing.generations) for standing in kept)
