"""Does every hit add up (step 8 of the journey, rule D5).

Decides the equations of the ledger: what was received is what was refused and what was taken; what was taken of a day
is what its published generation, or the live stream, says of it and what still waits. Sums and exclusive ors of hashes
are compared with the hits, so that a loss masked by a duplicate is seen. Pure: knows no store and no time, and cannot
tell a hit that is lost from one that is on its way between two stores.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Final

import polars as pl

from hitmesh.model.generations import DirtyMark, GenerationEntry, LedgerEntry
from hitmesh.model.positions import PartitionId
from hitmesh.model.rows.stream_columns import STREAM_GENERATION, LedgerClass, LedgerKind

_MODULUS: Final = 1 << 64
_CLASSIFIED: Final = (LedgerClass.COUNTED, LedgerClass.DUPLICATE, LedgerClass.EXCLUDED)


@dataclass(frozen=True, slots=True)
class Count:
    """Hits, with Σ mod 2⁶⁴ and ⊕ of their hash64."""

    hits: int = 0
    sum64: int = 0
    xor64: int = 0

    def __add__(self, other: Count) -> Count:
        """Returns both together."""
        return Count(self.hits + other.hits, (self.sum64 + other.sum64) % _MODULUS, self.xor64 ^ other.xor64)

    def distance(self, other: Count) -> int:
        """Returns how far two counts of the same hits are apart: hits, plus one for each checksum that differs."""
        return abs(self.hits - other.hits) + (self.sum64 != other.sum64) + (self.xor64 != other.xor64)


@dataclass(frozen=True, slots=True)
class Totals:
    """What came in, over all time. `accepted_by_day` is None where no day is known: hits of no site.

    `imbalance_of_cells` adds up how far received and rejected + accepted are apart in each cell.
    """

    received: Count
    rejected: Count
    accepted: Count
    accepted_by_day: Count | None
    imbalance_of_cells: int

    @property
    def imbalance(self) -> int:
        """0 when received = rejected + accepted in every cell, and both ways to count the accepted ones agree."""
        by_day = 0 if self.accepted_by_day is None else self.accepted.distance(self.accepted_by_day)
        return self.imbalance_of_cells + by_day


@dataclass(frozen=True, slots=True)
class Day:
    """What became of the hits of a UTC day. `classified` are the counted, duplicate and excluded ones together."""

    day: int
    is_settled: bool
    generation: int
    accepted: Count
    counted: int
    duplicate: int
    excluded: int
    classified: Count
    pending: Count

    @property
    def imbalance(self) -> int:
        """0 when accepted = counted + duplicate + excluded + pending."""
        classes = abs(self.classified.hits - self.counted - self.duplicate - self.excluded)
        return self.accepted.distance(self.classified + self.pending) + classes


@dataclass(frozen=True, slots=True)
class SiteLedger:
    """The totals of a site and its days, ascending."""

    totals: Totals
    days: tuple[Day, ...]

    @property
    def imbalance(self) -> int:
        """Of the totals and all days."""
        return self.totals.imbalance + sum(day.imbalance for day in self.days)


def site_ledger(
    sums: pl.DataFrame,
    entries: Mapping[int, GenerationEntry],
    settled: Mapping[int, LedgerEntry],
    marks: Sequence[DirtyMark],
) -> SiteLedger:
    """Returns the ledger of a site.

    Args:
        sums: LEDGER_SUMS of the site: what the live stream counted of every hit, history included.
        entries: the published entry per UTC day that has one.
        settled: its ledger entry, for the same days.
        marks: what waits, with the hits it stands for.
    """
    of_days = _by_class(sums, LedgerKind.DAY)
    waiting: dict[int, list[DirtyMark]] = {}
    for mark in marks:
        waiting.setdefault(mark.site_day.day, []).append(mark)
    days = tuple(
        _settled_day(day, of_days.get(day, {}), entries[day], settled[day], waiting.get(day, []))
        if day in settled and day in entries
        else _streamed_day(day, of_days.get(day, {}))
        for day in sorted(of_days.keys() | settled.keys())
    )
    return SiteLedger(_totals(sums, total(day.accepted for day in days)), days)


def siteless_totals(sums: pl.DataFrame) -> Totals:
    """Returns the totals of hits of no site, of their LEDGER_SUMS."""
    return _totals(sums, None)


def total(counts: Iterable[Count]) -> Count:
    """Returns all counts together."""
    return reduce(Count.__add__, counts, Count())


def _settled_day(
    day: int,
    classes: Mapping[LedgerClass, Count],
    entry: GenerationEntry,
    settled: LedgerEntry,
    marks: Iterable[DirtyMark],
) -> Day:
    beyond = [
        Count(mark.hits, mark.sum64, mark.xor64)
        for mark in marks
        if mark.position.offset >= entry.read_through.get(PartitionId(mark.position.log, mark.position.partition), 0)
    ]
    return Day(
        day=day,
        is_settled=True,
        generation=entry.generation,
        accepted=classes.get(LedgerClass.ACCEPTED, Count()),
        counted=settled.counted,
        duplicate=settled.duplicate,
        excluded=settled.excluded,
        classified=Count(settled.accepted, settled.sum64, settled.xor64),
        pending=total(beyond),
    )


def _streamed_day(day: int, classes: Mapping[LedgerClass, Count]) -> Day:
    counted, duplicate, excluded = (classes.get(name, Count()) for name in _CLASSIFIED)
    return Day(
        day=day,
        is_settled=False,
        generation=STREAM_GENERATION,
        accepted=classes.get(LedgerClass.ACCEPTED, Count()),
        counted=counted.hits,
        duplicate=duplicate.hits,
        excluded=excluded.hits,
        classified=counted + duplicate + excluded,
        pending=classes.get(LedgerClass.PENDING, Count()),
    )


def _totals(sums: pl.DataFrame, accepted_by_day: Count | None) -> Totals:
    cells = [
        tuple(classes.get(name, Count()) for name in (LedgerClass.RECEIVED, LedgerClass.REJECTED, LedgerClass.ACCEPTED))
        for classes in _by_class(sums, LedgerKind.CELL).values()
    ]
    return Totals(
        received=total(received for received, _, _ in cells),
        rejected=total(rejected for _, rejected, _ in cells),
        accepted=total(accepted for _, _, accepted in cells),
        accepted_by_day=accepted_by_day,
        imbalance_of_cells=sum(received.distance(rejected + accepted) for received, rejected, accepted in cells),
    )


def _by_class(sums: pl.DataFrame, kind: LedgerKind) -> dict[int, dict[LedgerClass, Count]]:
    """Returns the counts of a kind, by `at` and class."""
    found: dict[int, dict[LedgerClass, Count]] = {}
    rows = sums.filter(pl.col("kind") == kind).select("at", "class", "hits", "sum64", "xor64")
    for at, name, hits, sum64, xor64 in rows.iter_rows():
        found.setdefault(at, {})[LedgerClass(name)] = Count(hits, sum64, xor64)
    return found
