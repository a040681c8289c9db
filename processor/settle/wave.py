"""A pass of the settler and its waves, as values (step S of the journey).

Decides what is handed from day to day, and which marks a pass sees.
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
    """A site-day of a wave that is settled and not published."""

    covered: DirtySiteDay
    attempt: Attempt
    settled: Settled
    drift: Drift | None
    started: int

    @property
    def is_confirmed(self) -> bool:
        """Whether the rows of the stream stand."""
        return self.drift is not None and self.drift.confirmed

    @property
    def rows(self) -> int:
        """How many rows are to be written."""
        return 0 if self.is_confirmed else self.settled.traffic.height + self.settled.visits.height


@dataclass(slots=True)
class Pass:
    """A pass: positions and days at its beginning, site-days that still wait, the wave in the making, failed sites."""

    started: int
    closed_before: int
    hits_before: Mapping[PartitionId, int]
    before: Mapping[PartitionId, int]
    waiting: set[SiteDay]
    wave: list[Computed] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)
    done: int = 0

    def handed(self, site_day: SiteDay) -> Handed:
        """Return what settlements of the wave hand to a site-day."""
        own = [one for one in self.wave if one.attempt.site_day.site == site_day.site]
        before = (one.settled.carry for one in own if one.attempt.site_day.day == site_day.day - 1)
        flags = {claim: flag for one in own for claim, flag in one.settled.orders.changed_flags.items()}
        return Handed(next(before, None), flags)


def covered_by(entry: DirtySiteDay, before: Mapping[PartitionId, int]) -> DirtySiteDay | None:
    """Return the marks of records that a scan with these bounds sees; None where there are marks and it sees none.

    Marks of settlements are of no record: a scan that begins now sees what they stand for.
    """
    if not entry.marks:
        return entry  # its day has closed, that is all
    marks = tuple(
        one
        if one.partition.log == SETTLEMENT_LOG
        else replace(one, last_offset=min(one.last_offset, before.get(one.partition, 0) - 1))
        for one in entry.marks
        if one.partition.log == SETTLEMENT_LOG or one.first_offset < before.get(one.partition, 0)
    )
    return replace(entry, marks=marks) if marks else None
