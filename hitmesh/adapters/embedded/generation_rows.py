"""Encode and decode rows in the tables `generations`, `superseded` and `drifts` (settled.db)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from hitmesh.adapters.shared.bits import to_signed, to_unsigned
from hitmesh.model.generations import Drift, GenerationEntry, LedgerEntry
from hitmesh.model.positions import PartitionId
from hitmesh.model.sites import SiteDay


class Newest(NamedTuple):
    """The columns of a site-day's current entry."""

    sequence: int
    generation: int
    logic_version: int
    read_through: str
    published_at: int
    accepted: int
    counted: int
    duplicate: int
    excluded: int
    sum64: int
    xor64: int
    carry: bytes
    erased: int
    rules_version: int

    @property
    def entry(self) -> GenerationEntry:
        """Return the entry."""
        return GenerationEntry(
            self.generation,
            self.sequence,
            self.logic_version,
            _through(self.read_through),
            self.published_at,
            self.rules_version,
        )

    @property
    def ledger(self) -> LedgerEntry:
        """Return the ledger entry that belongs to the current entry."""
        return _ledger(self.accepted, self.counted, self.duplicate, self.excluded, self.sum64, self.xor64, self.erased)


def newest_of(entry: GenerationEntry, ledger: LedgerEntry, carry: bytes) -> Newest:
    """Return an entry, its ledger entry and its carry as columns."""
    return Newest(
        entry.sequence,
        entry.generation,
        entry.logic_version,
        _packed(entry.read_through),
        entry.published_at,
        ledger.accepted,
        ledger.counted,
        ledger.duplicate,
        ledger.excluded,
        to_signed(ledger.sum64),
        to_signed(ledger.xor64),
        carry,
        ledger.erased,
        entry.rules_version,
    )


def packed_drift(drift: Drift) -> str:
    """Return a drift (the difference between settlement and stream) as JSON."""
    return json.dumps(
        {
            "confirmed": drift.confirmed,
            "rows_differ": drift.rows_differ,
            "sketch_provisional": drift.sketch_provisional,
            "measures": dict(drift.measures),
            "row_measures": dict(drift.row_measures),
            "full_refunds": drift.full_refunds,
        }
    )


def site_day_drift(site: str, day: int, drift: str) -> tuple[SiteDay, Drift]:
    """Decode a `drifts` row."""
    return SiteDay(site, day), Drift(**json.loads(drift))


def day_entry(
    day: int,
    generation: int,
    sequence: int,
    logic_version: int,
    read_through: str,
    published_at: int,
    rules_version: int,
    _newest: int,
) -> tuple[int, GenerationEntry]:
    """Decode the day and the entry from a `generations` row."""
    return day, GenerationEntry(
        generation, sequence, logic_version, _through(read_through), published_at, rules_version
    )


def day_ledger(
    day: int,
    accepted: int,
    counted: int,
    duplicate: int,
    excluded: int,
    sum64: int,
    xor64: int,
    erased: int,
    _newest: int,
) -> tuple[int, LedgerEntry]:
    """Decode the day and the ledger entry from a `generations` row."""
    return day, _ledger(accepted, counted, duplicate, excluded, sum64, xor64, erased)


def site_day_generation(site: str, day: int, generation: int) -> tuple[SiteDay, int]:
    """Decode a `superseded` row."""
    return SiteDay(site, day), generation


def _packed(read_through: Mapping[PartitionId, int]) -> str:
    return json.dumps([[*partition, offset] for partition, offset in sorted(read_through.items())])


def _through(read_through: str) -> dict[PartitionId, int]:
    return {PartitionId(log, partition): offset for log, partition, offset in json.loads(read_through)}


def _ledger(
    accepted: int, counted: int, duplicate: int, excluded: int, sum64: int, xor64: int, erased: int
) -> LedgerEntry:
    return LedgerEntry(accepted, counted, duplicate, excluded, to_unsigned(sum64), to_unsigned(xor64), erased)
