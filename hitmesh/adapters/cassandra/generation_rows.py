"""A row of the table of generations as a value, and back. Decides how its parts are written; knows no statements."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import orjson

from hitmesh.model.generations import Drift, GenerationEntry, LedgerEntry
from hitmesh.model.positions import PartitionId

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
)


@dataclass(frozen=True, slots=True)
class SiteDayRow:
    """What is known of a site-day.

    Attributes:
        day: of the site.
        version: counts the changes of the row; 0 = there is none.
        attempts: the last number that was given out.
        waiting: numbers that may still be published.
        entry: what is current, None before the first publication.
        ledger: of the entry.
        carry: the attempt whose carry is the entry's, in `carry_chunks` pieces.
        drift: of the first entry that had one.
        replaced: generations that were superseded, and when.
        last_sequence: the highest of the site.
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
    last_sequence: int = 0


def columns_of(row: SiteDayRow) -> tuple[Any, ...]:
    """Returns the values of ENTRY."""
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
        # Checksums are 64 bits without a sign: as text, since JSON's numbers are not.
        _json({name: str(value) for name, value in asdict(row.ledger).items()}) if row.ledger else None,
        row.carry,
        row.carry_chunks,
        # Differences of amounts may be beyond 64 bits, which orjson does not write.
        json.dumps(asdict(row.drift)) if row.drift else None,
        dict(row.replaced),
    )


def row_of(row: Any) -> SiteDayRow:
    """Returns what the columns of a row say."""
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
        last_sequence=row.last_sequence or 0,
    )


def _entry(row: Any) -> GenerationEntry | None:
    if row.sequence is None:
        return None
    read_through = {PartitionId(log, partition): offset for log, partition, offset in orjson.loads(row.read_through)}
    return GenerationEntry(row.generation, row.sequence, row.logic_version, read_through, row.published_at)


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
