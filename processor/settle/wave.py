"""The state of the settler's passes and waves.

Within a pass, the settlement of a day may use results of the site's earlier days that are not published yet. This
module defines which results a later day gets, and which dirty marks a pass clears.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from hitmesh.model.generations import FLAGS_LOG, SETTLEMENT_LOG, DirtyMark, DirtySiteDay, Drift, GenerationEntry
from hitmesh.model.positions import PartitionId
from hitmesh.model.sites import SiteDay
from hitmesh.model.streams import StreamTable
from processor.settle.attempt import Attempt, Handed
from processor.settle.settlement import Settled
from processor.settle.settlement_marks import range_of

_OF_SETTLEMENT: Final = (SETTLEMENT_LOG, FLAGS_LOG)


@dataclass(frozen=True, slots=True)
class Computed:
    """A site-day in a wave, which is a group of site-days whose rows are written together.

    The site-day is settled but not published yet.
    """

    covered: DirtySiteDay
    attempt: Attempt
    settled: Settled
    drift: Drift | None
    started: int

    @property
    def is_confirmed(self) -> bool:
        """Whether the stream's rows are confirmed, and thus become the settled rows."""
        return self.drift is not None and self.drift.confirmed

    @property
    def generation(self) -> int:
        """The generation that becomes current when the site-day is published."""
        return self.attempt.stream if self.is_confirmed else self.attempt.generation

    @property
    def rows(self) -> int:
        """How many rows must be written for the site-day."""
        return 0 if self.is_confirmed else self.settled.rows.height


@dataclass(slots=True)
class Pass:
    """A pass's state: its start, the closed days, the stream table, the current wave and the failed sites.

    For each site, `published` describes the last publication in this pass: (the site's highest sequence number when the
    attempt began, the sequence number of the publication). `marked` contains the dirty marks that this pass made.
    """

    started: int
    closed_before: int
    streams: StreamTable
    wave: list[Computed] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)
    done: int = 0
    published: dict[str, tuple[int, int]] = field(default_factory=dict)
    marked: dict[SiteDay, list[DirtyMark]] = field(default_factory=dict)

    def seen_sequence(self, attempt: Attempt) -> int:
        """Return the site's highest sequence number when the attempt began.

        If this pass has since published a site-day of the site, return the sequence number of the last publication.
        """
        began, sequence = self.published.get(attempt.site_day.site, (-1, 0))
        return sequence if began == attempt.site_sequence else attempt.site_sequence

    def note_published(self, attempt: Attempt, entry: GenerationEntry) -> None:
        """Record that a site-day was published in this pass."""
        self.published[attempt.site_day.site] = (attempt.site_sequence, entry.sequence)

    def note_marked(self, marks: Sequence[DirtyMark]) -> None:
        """Record dirty marks that the pass made."""
        for mark in marks:
            self.marked.setdefault(mark.site_day, []).append(mark)

    def with_marks(self, covered: DirtySiteDay) -> DirtySiteDay:
        """Return the entry, extended by dirty marks that this pass made on the site-day.

        A pass marks a later day because an earlier day's results have changed. A site's days are settled in ascending
        order, so the later day's settlement has already used the earlier day's results.
        """
        made = map(range_of, self.marked.get(covered.site_day, ()))
        return replace(covered, marks=(*covered.marks, *made))

    def handed(self, site_day: SiteDay) -> Handed:
        """Return the results that a site-day's settlement needs from earlier days in the wave."""
        of_site = [computed for computed in self.wave if computed.attempt.site_day.site == site_day.site]
        before = next((computed for computed in of_site if computed.attempt.site_day.day == site_day.day - 1), None)
        flags = {claim: flag for computed in of_site for claim, flag in computed.settled.orders.changed_flags.items()}
        return Handed(before.settled.carry, flags, before.attempt.logic) if before else Handed(flags=flags)


def covered_by(entry: DirtySiteDay, before: Mapping[PartitionId, int]) -> DirtySiteDay | None:
    """Return the entry with the dirty marks whose records are within the bounds of a scan.

    If the entry has no marks, return the entry unchanged. If none of the entry's marks is within the bounds, return
    None. A mark that a settlement made belongs to no record. Such a mark is always kept, because a scan that begins now
    reads the hits that caused the mark.
    """
    if not entry.marks:
        return entry  # the pass settles this site-day only because the day has closed
    marks = tuple(
        mark_range
        if mark_range.partition.log in _OF_SETTLEMENT
        else replace(mark_range, last_offset=min(mark_range.last_offset, before.get(mark_range.partition, 0) - 1))
        for mark_range in entry.marks
        if mark_range.partition.log in _OF_SETTLEMENT or mark_range.first_offset < before.get(mark_range.partition, 0)
    )
    return replace(entry, marks=marks) if marks else None
