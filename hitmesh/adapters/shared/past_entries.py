"""Combine a site-day's recorded entries with the generations that are superseded (hitmesh.model.history)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hitmesh.model.generations import GenerationEntry
from hitmesh.model.history import PastEntry, newest_entries


class RecordedEntry(NamedTuple):
    """A replaced entry, reduced to the fields that stores keep."""

    sequence: int
    generation: int
    logic_version: int
    published_at: int


def recorded(entry: GenerationEntry) -> RecordedEntry:
    """Return the fields of an entry that stores keep after the entry was replaced."""
    return RecordedEntry(entry.sequence, entry.generation, entry.logic_version, entry.published_at)


def with_current(entries: Sequence[RecordedEntry], current: GenerationEntry | None) -> tuple[RecordedEntry, ...]:
    """Return the recorded entries followed by the current entry, but at most the newest MAX_PAST_ENTRIES entries.

    If an older version of hitmesh published the current entry without recording the entry, `entries` lacks the current
    entry.
    """
    if current is None or (entries and entries[-1].sequence == current.sequence):
        return newest_entries(entries)
    return newest_entries((*entries, recorded(current)))


def past_entries(entries: Sequence[RecordedEntry], superseded: Mapping[int, int]) -> tuple[PastEntry, ...]:
    """Return the entries, each with the time until which its generation is kept.

    Args:
        entries: a site-day's entries in ascending order of sequence; the last entry is current.
        superseded: the superseded generations, each with the time (UTC ms) from which it counts as superseded.
    """
    current = entries[-1].generation if entries else None
    return tuple(
        PastEntry(*entry, kept_until=None if entry.generation == current else superseded.get(entry.generation, 0))
        for entry in entries
    )
