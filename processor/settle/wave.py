"""The settler's passes and waves, as values (settlement).

A pass hands results of unpublished settlements to later days. This module defines which results are handed over, and
which dirty marks a pass covers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hitmesh.model.generations import SETTLEMENT_LOG, DirtySiteDay, Drift
from hitmesh.model.positions import PartitionId
from hitmesh.model.sites import SiteDay
from processor.settle.attempt import Attempt, Handed
from processor.settle.settlement import Settled


@dataclass(frozen=True, slots=True)
class Computed:
    """A site-day in a wave: settled, not published."""

    covered: DirtySiteDay
    attempt: Attempt
    settled: Settled
    drift: Drift | None
    started: int

    @property
    def is_confirmed(self) -> bool:
        """Whether the stream's own rows become the settled rows."""
        return self.drift is not None and self.drift.confirmed

    @property
    def rows(self) -> int:
        """The number of rows to write."""
        return 0 if self.is_confirmed else self.settled.rows.height


@dataclass(slots=True)
class Pass:
    """The state of a pass: starting positions and days, waiting site-days, the current wave, failed sites."""

    started: int
    closed_before: int
    hits_before: Mapping[PartitionId, int]
    before: Mapping[PartitionId, int]
    waiting: set[SiteDay]
    wave: list[Computed] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)
    done: int = 0

    def handed(self, site_day: SiteDay) -> Handed:
        """Return the results that the wave's settlements hand to a site-day."""
        of_site = [computed for computed in self.wave if computed.attempt.site_day.site == site_day.site]
        before = next((computed for computed in of_site if computed.attempt.site_day.day == site_day.day - 1), None)
        flags = {claim: flag for computed in of_site for claim, flag in computed.settled.orders.changed_flags.items()}
        return Handed(before.settled.carry, flags, before.attempt.logic) if before else Handed(flags=flags)


def covered_by(entry: DirtySiteDay, before: Mapping[PartitionId, int]) -> DirtySiteDay | None:
    """Return the entry, reduced to dirty marks whose records a scan with these bounds sees; None if no mark is left.

    An entry without marks is returned unchanged. A settlement mark belongs to no record and is always kept, because a
    scan that begins now sees the hits that caused the mark.
    """
    if not entry.marks:
        return entry  # taken only because its day has closed
    marks = tuple(
        mark_range
        if mark_range.partition.log == SETTLEMENT_LOG
        else replace(mark_range, last_offset=min(mark_range.last_offset, before.get(mark_range.partition, 0) - 1))
        for mark_range in entry.marks
        if mark_range.partition.log == SETTLEMENT_LOG or mark_range.first_offset < before.get(mark_range.partition, 0)
    )
    return replace(entry, marks=marks) if marks else None
