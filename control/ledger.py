"""The ledger: account for every hit (journey step 8, rule D5).

The ledger must satisfy two equations:

- received = rejected + accepted, for every 15-minute cell of collect time;
- accepted = counted + duplicate + excluded + erased + pending, for every UTC day of event time. The published
  generation classifies the hits of a settled day, and the live stream classifies the hits of all other days. Erased
  hits count as accepted. An erased hit's checksums stay; all other content is removed.

The equations also compare two checksums: the sum of the hits' hashes, and the exclusive or of the hashes. The checksums
reveal a lost hit even if another hit is counted twice. All functions are pure and cannot read a store again, so a hit
in transit between two stores looks like a lost hit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Final

from hitmesh.model.counts import Count
from hitmesh.model.generations import STREAM_GENERATION, DirtyMark, GenerationEntry, LedgerEntry
from hitmesh.model.ledger import LedgerClass, LedgerKind
from hitmesh.model.positions import PartitionId

if TYPE_CHECKING:
    import polars as pl

_CLASSIFIED: Final = (LedgerClass.COUNTED, LedgerClass.DUPLICATE, LedgerClass.EXCLUDED, LedgerClass.ERASED)


@dataclass(frozen=True, slots=True)
class Totals:
    """The counts of all hits that were ever received.

    `accepted_by_day` is None for hits without a site, because their days are unknown.

    For each cell, `imbalance_of_cells` adds the distance (Count.distance) between `received` and `rejected` +
    `accepted`.
    """

    received: Count
    rejected: Count
    accepted: Count
    accepted_by_day: Count | None
    imbalance_of_cells: int

    @property
    def imbalance(self) -> int:
        """The imbalance: 0 if received = rejected + accepted in every cell, and accepted = accepted_by_day."""
        by_day = 0 if self.accepted_by_day is None else self.accepted.distance(self.accepted_by_day)
        return self.imbalance_of_cells + by_day


@dataclass(frozen=True, slots=True)
class Day:
    """The ledger of a UTC day. `classified` covers counted, duplicate, excluded and erased hits together."""

    day: int
    is_settled: bool
    generation: int
    accepted: Count
    counted: int
    duplicate: int
    excluded: int
    classified: Count
    pending: Count
    erased: int = 0

    @property
    def imbalance(self) -> int:
        """The imbalance: 0 if accepted = counted + duplicate + excluded + erased + pending."""
        classes = abs(self.classified.hits - self.counted - self.duplicate - self.excluded - self.erased)
        return self.accepted.distance(self.classified + self.pending) + classes


@dataclass(frozen=True, slots=True)
class SiteLedger:
    """A site's totals, and the site's days in ascending order."""

    totals: Totals
    days: tuple[Day, ...]

    @property
    def imbalance(self) -> int:
        """The imbalance of the totals plus the imbalances of all days."""
        return self.totals.imbalance + sum(day.imbalance for day in self.days)


def site_ledger(
    sums: pl.DataFrame,
    entries: Mapping[int, GenerationEntry],
    settled: Mapping[int, LedgerEntry],
    marks: Sequence[DirtyMark],
) -> SiteLedger:
    """Return a site's ledger.

    Args:
        sums: the site's LEDGER_SUMS: the live stream's counts for all hits, including history hits.
        entries: the published generation entries by UTC day.
        settled: the published ledger entries, for the same days.
        marks: the dirty marks; each mark has the number and the checksums of the hits that wait.
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
    """Return the totals for hits without a site, from the LEDGER_SUMS of these hits."""
    return _totals(sums, None)


def total(counts: Iterable[Count]) -> Count:
    """Return the sum of all counts."""
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
        erased=settled.erased,
    )


def _streamed_day(day: int, classes: Mapping[LedgerClass, Count]) -> Day:
    counted, duplicate, excluded, erased = (classes.get(name, Count()) for name in _CLASSIFIED)
    return Day(
        day=day,
        is_settled=False,
        generation=STREAM_GENERATION,
        accepted=classes.get(LedgerClass.ACCEPTED, Count()),
        counted=counted.hits,
        duplicate=duplicate.hits,
        excluded=excluded.hits,
        classified=counted + duplicate + excluded + erased,
        pending=classes.get(LedgerClass.PENDING, Count()),
        erased=erased.hits,
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
    """Return the counts of a ledger kind, keyed by `at` (a UTC day or a cell) and class."""
    found: dict[int, dict[LedgerClass, Count]] = {}
    rows = sums.select("kind", "at", "class", "hits", "sum64", "xor64").iter_rows()
    for of_kind, at, name, hits, sum64, xor64 in rows:
        if of_kind == kind:
            found.setdefault(at, {})[LedgerClass(name)] = Count(hits, sum64, xor64)
    return found
