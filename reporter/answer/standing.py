"""Reading what waits to be settled and which generations are current, and remembering it for when nobody says.

The order of reads is the promise behind `complete_through` (rule P15): progress, then what waits, then the version and
the generations, then rows. A hit below the progress was counted by the live stream, or waits, or is in a generation
that was published before it waited no longer. So what is remembered goes with the progress that was read before it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from hitmesh.model.errors import Unavailable
from hitmesh.model.positions import PartitionId, Topic
from hitmesh.model.rows.stream_columns import STREAM_GENERATION
from hitmesh.model.sites import Site, SiteDay
from hitmesh.model.zones import DAY_MS
from hitmesh.ports import DirtyDays, Generations, ProgressReader
from reporter.answer.freshness import Progress, Waiting, least, own_partitions

MAX_AGE_MS: Final = 5 * 60_000
MAX_KEPT: Final = 4_096
MAX_KEPT_DAYS: Final = 500_000
_KEPT_OF_SITES: Final = 4
NO_DAYS: Final = range(0)


@dataclass(frozen=True, slots=True)
class Reach:
    """What a store has taken in of the hits, and of the refusals where it says so."""

    hits: Progress
    refusals: Progress | None = None

    def holds(self, sites: Sequence[Site], committed: Reach) -> bool:
        """Returns whether the store holds all that was committed of some sites, and so nothing else."""
        mine, all_of_it = offsets_of(sites, self.hits), offsets_of(sites, committed.hits)
        return mine == all_of_it and (self.refusals is None or _offsets(self.refusals) == _offsets(committed.refusals))


@dataclass(frozen=True, slots=True)
class Standing:
    """How some sites stand with settlement.

    Attributes:
        progress: what the store that answers had taken in before the rest was read.
        waiting: per site name what is not settled.
        version: of the sites' numbers: `s`, the sum of their sequences, `.p`, the sum of what was committed.
        is_caught_up: the store that answers had taken in all of that, so that the version determines its numbers.
        days: UTC days whose generations were read.
        generations: to read, of each of these site-days that has rows.
        read_at: when, UTC ms.
        is_remembered: it was read for another question, since now nobody says.
    """

    progress: Progress
    waiting: Mapping[str, Waiting]
    version: str
    is_caught_up: bool
    days: range
    generations: Mapping[SiteDay, int]
    read_at: int
    is_remembered: bool = False

    def within(self, days: range, progress: Progress) -> Standing:
        """Returns what it says of some of its days to a question before which so much was taken in.

        A hit that came later than what was read may wait without being known to: so the lesser progress holds.
        """
        generations = {one: generation for one, generation in self.generations.items() if one.day in days}
        both = least(self.progress, progress)
        return replace(self, progress=both, is_caught_up=False, days=days, generations=generations, is_remembered=True)


class LastKnown:
    """The last standings of many sites, for at most five minutes. Thread-safe and bounded."""

    def __init__(self, max_kept: int = MAX_KEPT, max_days: int = MAX_KEPT_DAYS) -> None:
        self._max_kept = max_kept
        self._max_days = max_days
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, ...], tuple[Standing, ...]] = OrderedDict()
        self._days = 0

    def keep(self, sites: tuple[str, ...], standing: Standing) -> None:
        """Remembers what was read of sites; the oldest is forgotten where it is too much."""
        with self._lock:
            before = self._kept.pop(sites, ())
            others = [one for one in before if not _covers(standing.days, one.days)]
            kept = (standing, *others)[:_KEPT_OF_SITES]
            self._days += _size(kept) - _size(before)
            self._kept[sites] = kept
            while len(self._kept) > self._max_kept or self._days > self._max_days:
                self._days -= _size(self._kept.popitem(last=False)[1])

    def of(self, sites: tuple[str, ...], days: range, now_ms: int) -> Standing | None:
        """Returns the newest of these sites that covers the days and is not too old."""
        with self._lock:
            kept = self._kept.get(sites, ())
        fresh = (one for one in kept if _covers(one.days, days) and now_ms - one.read_at <= MAX_AGE_MS)
        return max(fresh, key=lambda one: one.read_at, default=None)


@dataclass(frozen=True, slots=True)
class Books:
    """The ports that say how sites stand."""

    dirty: DirtyDays
    generations: Generations
    progress: ProgressReader

    def read(self, sites: Sequence[Site], days: range, reach: Reach, now_ms: int) -> Standing:
        """Returns how sites stand, read in the order that is the promise; call it after the reach was read."""
        waiting = self.waiting(sites)
        committed = self.committed()
        return Standing(
            progress=reach.hits,
            waiting=waiting,
            version=self._version(sites, committed),
            is_caught_up=reach.holds(sites, committed),
            days=days,
            generations=self.current(sites, waiting, days),
            read_at=now_ms,
        )

    def committed(self) -> Reach:
        """Returns what the processor has committed of every declared partition."""
        return Reach(self.progress.progress(Topic.HITS), self.progress.progress(Topic.REJECTED))

    def waiting(self, sites: Sequence[Site]) -> dict[str, Waiting]:
        """Returns what is not settled per site."""
        return {site.name: Waiting(self.dirty.pending(site.name), self.dirty.awaited(site.name)) for site in sites}

    def version(self, sites: Sequence[Site]) -> str:
        """Returns the version of the sites' numbers.

        Both parts only grow. What the live stream counted follows from the positions it was committed with, those of
        the partitions that the sites' hits can be in and those of refusals.
        """
        return self._version(sites, self.committed())

    def current(self, sites: Sequence[Site], waiting: Mapping[str, Waiting], days: range) -> dict[SiteDay, int]:
        """Returns the generation to read of each site-day that has rows.

        A day without a published entry is read as the live stream has it, if the stream counts it at all: then it is
        awaited since before its first rows. Published is before no longer awaited, so `waiting` is read first.
        """
        if not days:
            return {}
        generations = {
            SiteDay(site.name, day): STREAM_GENERATION
            for site in sites
            for day in waiting[site.name].awaited
            if day in days
        }
        for site in sites:
            entries = self.generations.current(site.name, days.start, days.stop)
            generations |= {SiteDay(site.name, day): entry.generation for day, entry in entries.items()}
        return generations

    def _version(self, sites: Sequence[Site], committed: Reach) -> str:
        offsets = {**offsets_of(sites, committed.hits), **_offsets(committed.refusals)}
        sequences = sum(self.generations.sequence(site.name) for site in sites)
        return f"s{sequences}.p{sum(offsets.values())}"


def days_between(start: int, end: int) -> range:
    """Returns the UTC days of [start, end), both in UTC ms; none when it is empty."""
    return range(start // DAY_MS, -(-end // DAY_MS)) if start < end else NO_DAYS


def offsets_of(sites: Sequence[Site], progress: Progress) -> dict[PartitionId, int]:
    """Returns how far the partitions of hits are in which hits of the sites can be."""
    return {
        partition: reached.next_offset
        for site in sites
        for partition, reached in own_partitions(site, progress).items()
    }


def remembered(
    known: LastKnown, sites: Sequence[Site], days: range, progress: Progress, now_ms: int, cause: Unavailable
) -> Standing:
    """Returns how sites stood when it was last read.

    Raises:
        Unavailable: `cause`, since that was never read, or is too long ago.
    """
    found = known.of(tuple(site.name for site in sites), days, now_ms)
    if found is None:
        raise cause
    return found.within(days, progress)


def _offsets(progress: Progress | None) -> dict[PartitionId, int]:
    return {partition: reached.next_offset for partition, reached in (progress or {}).items()}


def _covers(one: range, other: range) -> bool:
    return not other or (one.start <= other.start and other.stop <= one.stop)


def _size(kept: Sequence[Standing]) -> int:
    return sum(1 + len(one.generations) for one in kept)
