"""Compute the freshness and the finality of a site's metric values (journey step 8; rules L1 to L3).

Every hit acknowledged before `complete_through` is in the answer. `complete_through` is the minimum of the bounds from
all partitions that can hold the site's hits. A partition's bound is the log time of the answering store's progress, or
of the first record whose hits wait for settlement, whichever is earlier. A hit that the live stream has counted does
not wait for settlement. This module also computes which cells are live, provisional or settled. The caller must read
progress first, then waiting days, then generations; in another order, the caller could miss a hit.

This module reads no clock: callers pass the current time as an argument.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Final, NamedTuple

from hitmesh.model import closing
from hitmesh.model.cells import cell_of, day_start_ms
from hitmesh.model.generations import SETTLEMENT_LOG, DirtySiteDay, MarkRange
from hitmesh.model.limits import (
    AHEAD_TOLERANCE_MS,
    CLOSED_AFTER_MS,
    DEGRADED_AFTER_MS,
    DELAYED_AFTER_MS,
    STALLED_AFTER_MS,
)
from hitmesh.model.placement import own_partitions
from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.sites import Site
from hitmesh.model.zones import DAY_MS

# The reporter does not know which collector wrote a record with a future log time; the processor's log names the
# collector.
_CAUSE: Final = (
    "a collector wrote a record while its clock was ahead, or this reporter's clock is behind; see "
    "log_time_ahead in the processor's log for the record"
)

Progress = Mapping[PartitionId, PartitionProgress]
NOT_BEGUN: Final = PartitionProgress(next_offset=0, log_time=0)


class State(StrEnum):
    """The state that follows from a lag, or from a log time that is ahead of the current time (rule L2)."""

    LIVE = "live"
    DELAYED = "delayed"
    DEGRADED = "degraded"


class CellState(IntEnum):
    """The finality of a cell's metric values (rule L3). The state of several cells is the lowest state of any cell."""

    LIVE = 1
    PROVISIONAL = 2
    SETTLED = 3


@dataclass(frozen=True, slots=True)
class Waiting:
    """A site's unsettled UTC days, ascending: days with dirty marks, and open days that the live stream counts."""

    marked: Sequence[DirtySiteDay] = ()
    awaited: Sequence[int] = ()


class Ahead(NamedTuple):
    """A partition whose log time is ahead of the current time.

    If a log time is ahead, the lag looks too small, and hits count as late.
    """

    partition: PartitionId
    log_time: int
    cause: str


@dataclass(frozen=True, slots=True)
class Freshness:
    """The freshness of a site's metric values. All times are UTC ms.

    Attributes:
        complete_through: every hit acknowledged before this time is in the answer. The value is never later than the
            current time. While a partition has no progress, the value is 0 and the state is DEGRADED.
        lag_ms: the current time minus `complete_through`, or None while a partition has no progress.
        state: the state for the greater of two times: `lag_ms`, and the time by which log time is ahead.
        partitions: the visible progress of each partition that can hold hits.
        stalled: partitions whose progress is older than STALLED_AFTER_MS. A partition is also stalled if hits that
            wait for settlement hold back its visible progress for more than DELAYED_AFTER_MS.
        unsettled_days: UTC days that are unsettled for any site, in ascending order.
        open_from_day: a UTC day. This day and all later days are unsettled, in addition to `unsettled_days`.
        dirty_days: number of site-days with a dirty mark.
        resettling_days: number of site-days that settlement itself marked dirty.
        open_days: number of site-days that are not settled yet, so that their numbers come from the live stream.
        ahead: partitions whose log time is ahead of the current time by more than AHEAD_TOLERANCE_MS.
    """

    complete_through: int
    lag_ms: int | None
    state: State
    partitions: Mapping[PartitionId, PartitionProgress]
    stalled: tuple[PartitionId, ...]
    unsettled_days: tuple[int, ...]
    open_from_day: int
    dirty_days: int
    resettling_days: int
    open_days: int
    ahead: tuple[Ahead, ...] = ()

    @property
    def cause(self) -> str:
        """The cause of DEGRADED while the lag is unknown, otherwise an empty text."""
        if self.lag_ms is not None:
            return ""
        silent = sum(reached.log_time == 0 for reached in self.partitions.values())
        return (
            f"The store has no progress in {silent} of {len(self.partitions)} partitions of the site, so the lag is "
            "unknown. This is normal in the first minute of a new mesh; later, see the logs of processor and store."
        )

    @property
    def live_from(self) -> int:
        """The start of the first live cell."""
        return cell_of(self.complete_through)

    @property
    def provisional_from(self) -> int:
        """The first instant whose metric values are not settled."""
        return min(self.live_from, day_start_ms(min([self.open_from_day, *self.unsettled_days[:1]])))

    def state_between(self, start: int, end: int) -> CellState:
        """Return the lowest state of any cell in [start, end). Both times are multiples of 15 min."""
        if end > max(start, self.live_from):
            return CellState.LIVE
        first_day, end_day = start // DAY_MS, -(-end // DAY_MS)
        place = bisect_left(self.unsettled_days, first_day)
        days = [self.open_from_day, *self.unsettled_days[place : place + 1]]
        return CellState.PROVISIONAL if any(day < end_day for day in days) else CellState.SETTLED


def freshness(
    sites: Sequence[Site],
    progress: Mapping[PartitionId, PartitionProgress],
    waiting: Mapping[str, Waiting],
    now_ms: int,
) -> Freshness:
    """Return the joint freshness of some sites.

    Args:
        sites: the sites, at least one.
        progress: the answering store's progress in every declared partition of the hits topic.
        waiting: unsettled days by site name, read after `progress`.
        now_ms: the current time.
    """
    of_sites = [waiting.get(site.name, Waiting()) for site in sites]
    visible: dict[PartitionId, PartitionProgress] = {}
    for site, site_waiting in zip(sites, of_sites, strict=True):
        for partition, reached in _visible(site, progress, site_waiting.marked).items():
            visible[partition] = earlier(visible.get(partition, reached), reached)
    complete_through = min([now_ms, *(reached.log_time for reached in visible.values())]) if visible else 0
    marked = [dirty for site_waiting in of_sites for dirty in site_waiting.marked]
    lag_ms = now_ms - complete_through if complete_through else None
    ahead = _ahead({partition: progress[partition] for partition in visible}, now_ms)
    return Freshness(
        complete_through=complete_through,
        lag_ms=lag_ms,
        state=State.DEGRADED
        if lag_ms is None
        else state_of(max([lag_ms, *(lead.log_time - now_ms for lead in ahead)])),
        partitions=visible,
        stalled=tuple(
            partition
            for partition, reached in sorted(visible.items())
            if now_ms - progress[partition].log_time > STALLED_AFTER_MS or now_ms - reached.log_time > DELAYED_AFTER_MS
        ),
        unsettled_days=tuple(
            sorted({dirty.site_day.day for dirty in marked}.union(*(site_waiting.awaited for site_waiting in of_sites)))
        ),
        open_from_day=first_open_day(progress),
        dirty_days=len(marked),
        resettling_days=sum(any(map(_settlement, dirty.marks)) for dirty in marked),
        open_days=sum(len(site_waiting.awaited) for site_waiting in of_sites),
        ahead=ahead,
    )


def pinned_freshness(end_day: int) -> Freshness:
    """Return the freshness of a report at an earlier data version that ends with the day before `end_day`.

    Every day of the version was closed and settled, so the answer contains every hit that was acknowledged before the
    last day closed.
    """
    return Freshness(
        complete_through=day_start_ms(end_day) + CLOSED_AFTER_MS,
        lag_ms=0,
        state=State.LIVE,
        partitions={},
        stalled=(),
        unsettled_days=(),
        open_from_day=end_day,
        dirty_days=0,
        resettling_days=0,
        open_days=0,
    )


def _ahead(progress: Progress, now_ms: int) -> tuple[Ahead, ...]:
    """Return the partitions whose log time is ahead of the current time.

    `progress` must be the store's own progress, not the visible progress. Dirty marks reduce the log times in the
    visible progress, so the visible progress may hide that a partition is ahead.
    """
    return tuple(
        Ahead(partition, reached.log_time, _CAUSE)
        for partition, reached in sorted(progress.items())
        if reached.log_time - now_ms > AHEAD_TOLERANCE_MS
    )


def min_progress(first: Progress, second: Progress) -> dict[PartitionId, PartitionProgress]:
    """Return the minimum progress of two stores, in every partition that either store knows."""
    return {
        partition: earlier(first.get(partition, NOT_BEGUN), second.get(partition, NOT_BEGUN))
        for partition in {*first, *second}
    }


def first_open_day(progress: Mapping[PartitionId, PartitionProgress]) -> int:
    """Return the first UTC day that is open in any partition.

    An open day may still receive hits.
    """
    return closing.first_open_day(min((reached.log_time for reached in progress.values()), default=0))


def state_of(lag_ms: int) -> State:
    """Return the state for a lag in ms."""
    if lag_ms <= DELAYED_AFTER_MS:
        return State.LIVE
    return State.DELAYED if lag_ms <= DEGRADED_AFTER_MS else State.DEGRADED


def _visible(
    site: Site, progress: Mapping[PartitionId, PartitionProgress], marked: Sequence[DirtySiteDay]
) -> dict[PartitionId, PartitionProgress]:
    """Return the visible progress of a site's partitions: the store's progress, up to the first waiting record."""
    marks = [mark for dirty in marked for mark in dirty.marks]
    return {
        partition: _held_back(partition, reached, marks)
        for partition, reached in own_partitions(site, progress).items()
    }


def _held_back(partition: PartitionId, reached: PartitionProgress, marks: Sequence[MarkRange]) -> PartitionProgress:
    """Return a partition's progress, reduced to the position before the first record that waits for settlement.

    If settlement itself marked a day dirty, the mark limits the log time in every partition, because the day's new
    metric values are not published yet. The mark limits no offset, because no record waits for settlement.
    """
    offsets = [mark.first_offset for mark in marks if mark.partition == partition]
    times = [mark.first_log_time for mark in marks if mark.partition in (partition, _settlement(mark))]
    return PartitionProgress(next_offset=min([reached.next_offset, *offsets]), log_time=min([reached.log_time, *times]))


def _settlement(mark: MarkRange) -> PartitionId | None:
    return mark.partition if mark.partition.log == SETTLEMENT_LOG else None


def earlier(first: PartitionProgress, second: PartitionProgress) -> PartitionProgress:
    """Return the minimum of two positions in the same partition."""
    return PartitionProgress(
        next_offset=min(first.next_offset, second.next_offset), log_time=min(first.log_time, second.log_time)
    )
