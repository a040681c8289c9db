"""Makes a settlement's dirty marks (rule L4): intents, and marks on days that depend on another day.

A settler sets claims' flags unconditionally. The settler may be suspended just before it sets the flags, while
another settler settles the day. The suspended settler may then set outdated flags, and may die before it notices the
other settlement. A settler therefore stores an **intent** before it sets flags. An intent is a dirty mark that the
settler removes after the flags are set. Other settlers ignore an intent that was stored a short time ago. If an intent
is older, the settler that stored it has died or has set the flags long ago. The day is then settled again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from hitmesh.model.generations import FLAGS_LOG, SETTLEMENT_LOG, DirtyMark, DirtySiteDay, MarkRange
from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.sites import SiteDay
from hitmesh.ports import Clock


class SettlementMarks:
    """Makes dirty marks with rising offsets. An instance must be used by one thread only.

    Args:
        clock: where the marks get their offsets and log times.
        number: the marks' partition number. Each SettlementMarks object needs a different number, because marks
            are cleared by offset, and two objects may make marks with equal offsets.
    """

    def __init__(self, clock: Clock, number: int) -> None:
        self._clock = clock
        self._partition = PartitionId(SETTLEMENT_LOG, number)
        self._intents = PartitionId(FLAGS_LOG, number)
        self._last_offset = 0

    def on(self, site: str, days: Iterable[int]) -> Sequence[DirtyMark]:
        """Return a mark for each day.

        Each mark's offset is higher than the offsets of all earlier marks from this object.
        """
        now, marks = self._clock.now(), []
        for day in sorted(days):
            self._last_offset = max(now, self._last_offset + 1)
            marks.append(DirtyMark(SiteDay(site, day), Position(*self._partition, self._last_offset), now))
        return marks

    def intent(self, site_day: SiteDay) -> DirtyMark:
        """Return the intent for a site-day.

        The intent must be stored before the flags for the site-day's claims are set.
        """
        now = self._clock.now()
        self._last_offset = max(now, self._last_offset + 1)
        return DirtyMark(site_day, Position(*self._intents, self._last_offset), now)

    def without_young_intents(self, taken: Iterable[DirtySiteDay], after: int) -> list[DirtySiteDay]:
        """Return the site-days, without intents that other SettlementMarks objects stored a short time ago.

        An intent is young if it was stored at `after` (UTC ms) or later. The offset of an intent is approximately the
        time at which the intent was stored, so the offset can be compared with `after`. If all marks on a site-day are
        young intents from other objects, the site-day is left out.
        """
        kept = []
        for entry in taken:
            marks = tuple(each for each in entry.marks if not self._is_young_intent(each, after))
            if marks or not entry.marks:
                kept.append(replace(entry, marks=marks))
        return kept

    def _is_young_intent(self, marks: MarkRange, after: int) -> bool:
        is_others = marks.partition.log == FLAGS_LOG and marks.partition != self._intents
        return is_others and marks.last_offset >= after

    def note(self, taken: Iterable[DirtySiteDay]) -> None:
        """Record stored marks, so that later marks get higher offsets even if the clock was set back."""
        mine = (self._partition, self._intents)
        offsets = [marks.last_offset for entry in taken for marks in entry.marks if marks.partition in mine]
        self._last_offset = max([self._last_offset, *offsets])


def range_of(mark: DirtyMark) -> MarkRange:
    """Return a range that contains only this mark, because marks are cleared by range."""
    return MarkRange(PartitionId(*mark.position[:2]), mark.position.offset, mark.position.offset, mark.log_time)
