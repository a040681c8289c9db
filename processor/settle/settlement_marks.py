"""The dirty marks that settlement itself makes, on days that depend on another day's settlement (rule L4)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hitmesh.model.generations import SETTLEMENT_LOG, DirtyMark, DirtySiteDay
from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.sites import SiteDay
from hitmesh.ports import Clock


class SettlementMarks:
    """Makes dirty marks with rising offsets. Confined to one thread.

    Args:
        clock: offsets and log times.
        number: the marks' partition number. The number must be unique per maker, because marks are cleared by offset,
            and each maker derives offsets from its clock.
    """

    def __init__(self, clock: Clock, number: int) -> None:
        self._clock = clock
        self._partition = PartitionId(SETTLEMENT_LOG, number)
        self._last_offset = 0

    def on(self, site: str, days: Iterable[int]) -> Sequence[DirtyMark]:
        """Return a mark for each day, each with an offset above all offsets so far."""
        now, marks = self._clock.now(), []
        for day in sorted(days):
            self._last_offset = max(now, self._last_offset + 1)
            marks.append(DirtyMark(SiteDay(site, day), Position(*self._partition, self._last_offset), now))
        return marks

    def note(self, taken: Iterable[DirtySiteDay]) -> None:
        """Note stored marks, so that later marks get higher offsets even if the clock was set back."""
        offsets = [marks.last_offset for entry in taken for marks in entry.marks if marks.partition == self._partition]
        self._last_offset = max([self._last_offset, *offsets])
