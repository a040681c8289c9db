"""The published entries of a site-day over time, and the generations that are kept after they were replaced. Pure.

A report on an earlier data version reads, for each site-day, the entry that was current in this version
(`entry_as_of`). Entries are kept longer than the rows of their generations. If the entries were removed together with
the rows, an expired version would look like a day that was never settled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeVar

from hitmesh.model.sites import SiteDay

MAX_PAST_ENTRIES: Final = 256
"""Maximum number of entries kept per site-day, including the current entry; the oldest entries are removed first."""
MAX_KEPT_GENERATIONS: Final = 8
"""Maximum number of replaced generations that are kept per site-day.

Generations that were replaced first are removed first.
"""

_EntryT = TypeVar("_EntryT")


@dataclass(frozen=True, slots=True)
class PastEntry:
    """A current or earlier entry of a site-day.

    Attributes:
        sequence: the sequence number; a later entry of the site has a higher number.
        generation: the published or restored generation.
        logic_version: the number of the logic version.
        published_at: the time at which the entry became current, UTC ms.
        kept_until: the generation's rows are kept at least until this time (UTC ms); None while the generation is
            current, 0 after the generation was removed.
    """

    sequence: int
    generation: int
    logic_version: int
    published_at: int
    kept_until: int | None

    def is_kept(self, now: int) -> bool:
        """Return whether reports can read the generation's rows at `now` (UTC ms).

        Example:
            >>> PastEntry(3, 1, 2, 500, 900).is_kept(900), PastEntry(3, 1, 2, 500, 900).is_kept(901)
            (True, False)
        """
        return self.kept_until is None or now <= self.kept_until


@dataclass(frozen=True, slots=True)
class RetiredGeneration:
    """A generation whose rows are still stored, although reports read another generation by default.

    Attributes:
        site_day: the site-day.
        generation: the generation.
        kept_until: the generation counts as superseded from this time, UTC ms; its rows are removed soon after.
        replaced_at: the time at which another generation became current, UTC ms; None if the generation was never
            published, or the time is not stored.
        rows: the number of stored rows; None if the store cannot count them.
        size: the approximate size of these rows on disk in bytes; None if the store cannot tell the size at low cost.
            Files know their sizes. Cassandra would have to read every row, and Druid stores all generations of a day in
            the same segments.
    """

    site_day: SiteDay
    generation: int
    kept_until: int
    replaced_at: int | None = None
    rows: int | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """States that the entry at a version is no longer stored, because the site-day has too many later entries."""


def entry_as_of(entries: Sequence[PastEntry], watermark: int, *, by_time: bool) -> PastEntry | Unknown | None:
    """Return the entry that was current at a watermark; None if the site-day had no entry.

    Args:
        entries: the site-day's entries in ascending order of sequence.
        watermark: the highest sequence number in the version; if `by_time` is true, the last publication time in the
            version, UTC ms.
        by_time: whether the watermark is a time.

    Example:
        >>> entries = [PastEntry(3, 1, 2, 500, 900), PastEntry(7, 2, 2, 600, None)]
        >>> entry_as_of(entries, 6, by_time=False).generation
        1
        >>> entry_as_of(entries, 600, by_time=True).generation
        2
        >>> entry_as_of(entries, 2, by_time=False) is None
        True
    """
    for entry in reversed(entries):
        if (entry.published_at if by_time else entry.sequence) <= watermark:
            return entry
    return Unknown() if len(entries) >= MAX_PAST_ENTRIES else None


def newest_entries(entries: Sequence[_EntryT]) -> tuple[_EntryT, ...]:
    """Return the last MAX_PAST_ENTRIES of `entries`, which are in ascending order.

    Example:
        >>> newest_entries(range(1_000))[0]
        744
    """
    return tuple(entries[-MAX_PAST_ENTRIES:])


def replaced_times(entries: Sequence[PastEntry]) -> dict[int, int]:
    """Return the time, in UTC ms, at which each generation was last replaced. Pass `entries` in order of sequence.

    Example:
        >>> replaced_times([PastEntry(3, 1, 2, 500, 900), PastEntry(7, 2, 2, 600, None)])
        {1: 600}
    """
    times = {entry.generation: following.published_at for entry, following in pairwise(entries)}
    return {generation: at for generation, at in times.items() if generation != entries[-1].generation}
