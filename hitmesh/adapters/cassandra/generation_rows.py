"""Encode and decode the columns of rows in the generations table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import orjson

from hitmesh.adapters.shared.past_entries import RecordedEntry, past_entries, recorded, with_current
from hitmesh.adapters.shared.publication import beyond_limit
from hitmesh.model.generations import Drift, GenerationEntry, LedgerEntry
from hitmesh.model.history import PastEntry, RetiredGeneration, newest_entries, replaced_times
from hitmesh.model.positions import PartitionId
from hitmesh.model.sites import SiteDay

ENTRY: Final = (
    "version",
    "attempts",
    "waiting",
    "generation",
    "sequence",
    "logic_version",
    "read_through",
    "published_at",
    "ledger",
    "carry",
    "carry_chunks",
    "drift",
    "replaced",
    "history",
    "rules_version",
)


@dataclass(frozen=True, slots=True)
class SiteDayRow:
    """The stored state of a site-day.

    Attributes:
        day: the UTC day.
        version: the number of changes to the row; 0 if the row does not exist.
        attempts: the last attempt number that `begin` returned.
        waiting: attempt numbers that may still be published.
        entry: the current entry; None before the first publication.
        ledger: the current entry's ledger entry; None before the first publication.
        carry: the number of the attempt that wrote the current entry's carry.
        carry_chunks: the number of pieces into which the carry is split.
        drift: the drift of the oldest entry that has a drift; None if no entry has a drift.
        replaced: the replaced generations, each with the time (UTC ms) from which it counts as superseded.
        history: the recorded entries in ascending order of sequence; the current entry may be missing.
        last_sequence: the site's highest sequence.
    """

    day: int
    version: int = 0
    attempts: int = 0
    waiting: frozenset[int] = frozenset()
    entry: GenerationEntry | None = None
    ledger: LedgerEntry | None = None
    carry: int = 0
    carry_chunks: int = 0
    drift: Drift | None = None
    replaced: Mapping[int, int] = field(default_factory=dict)
    history: tuple[RecordedEntry, ...] = ()
    last_sequence: int = 0


def columns_of(row: SiteDayRow) -> tuple[Any, ...]:
    """Return a site-day's row as values for the columns in ENTRY."""
    entry = row.entry
    return (
        row.version,
        row.attempts,
        set(row.waiting),
        entry.generation if entry else None,
        entry.sequence if entry else None,
        entry.logic_version if entry else None,
        _json([[*partition, offset] for partition, offset in sorted(entry.read_through.items())]) if entry else None,
        entry.published_at if entry else None,
        # The ledger entry's values are stored as text. Checksums are unsigned 64-bit integers, which exceed the range
        # of JSON's numbers.
        _json({name: str(value) for name, value in asdict(row.ledger).items()}) if row.ledger else None,
        row.carry,
        row.carry_chunks,
        # Python's json module is used here, because differences between amounts may exceed orjson's range of 64 bits.
        json.dumps(asdict(row.drift)) if row.drift else None,
        dict(row.replaced),
        _json([list(entry) for entry in row.history]) if row.history else None,
        entry.rules_version if entry else None,
    )


def row_of(row: Any) -> SiteDayRow:
    """Decode a row of the generations table."""
    return SiteDayRow(
        day=row.day,
        version=row.version or 0,
        attempts=row.attempts or 0,
        waiting=frozenset(row.waiting or ()),
        entry=_entry(row),
        ledger=LedgerEntry(**{name: int(value) for name, value in orjson.loads(row.ledger).items()})
        if row.ledger
        else None,
        carry=row.carry or 0,
        carry_chunks=row.carry_chunks or 0,
        drift=Drift(**json.loads(row.drift)) if row.drift else None,
        replaced=dict(row.replaced or {}),
        history=tuple(RecordedEntry(*entry) for entry in orjson.loads(row.history)) if row.history else (),
        last_sequence=row.last_sequence or 0,
    )


def limited(replaced: Mapping[int, int], now: int) -> dict[int, int]:
    """Return the replaced generations. The generations beyond MAX_KEPT_GENERATIONS become superseded at `now`."""
    return {**replaced, **dict.fromkeys(beyond_limit(replaced, now), now)}


def history_with(there: SiteDayRow, entry: GenerationEntry) -> tuple[RecordedEntry, ...]:
    """Return a row's recorded entries, its current entry and the new entry, in this order.

    If there are more than MAX_PAST_ENTRIES entries, the oldest entries are left out.
    """
    return newest_entries((*with_current(there.history, there.entry), recorded(entry)))


def past_of(row: SiteDayRow) -> tuple[PastEntry, ...]:
    """Return the recorded entries and the current entry, in ascending order of sequence."""
    return past_entries(with_current(row.history, row.entry), row.replaced)


def retired_of(site_day: SiteDay, row: SiteDayRow) -> Iterator[RetiredGeneration]:
    """Yield the replaced generations of a site-day, ascending."""
    times = replaced_times(past_of(row))
    for generation, kept_until in sorted(row.replaced.items()):
        yield RetiredGeneration(site_day, generation, kept_until, times.get(generation))


def _entry(row: Any) -> GenerationEntry | None:
    if row.sequence is None:
        return None
    read_through = {PartitionId(log, partition): offset for log, partition, offset in orjson.loads(row.read_through)}
    rules_version = row.rules_version or 0
    return GenerationEntry(
        row.generation, row.sequence, row.logic_version, read_through, row.published_at, rules_version
    )


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
