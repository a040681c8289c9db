"""How far the numbers of a site reach, and how final they are (step 8 of the journey; rules L1 to L3).

Decides `complete_through`: every hit acknowledged before it is in the answer. It is the least, over the partitions that
the site's hits can be in, of what the store that answers has taken in and of the first record that still waits to be
settled; hits that the live stream counts wait for nothing else. Decides too which cells are live, which provisional and
which settled. The caller reads progress first, then what waits, then generations: in any other order a hit could be
passed over.

Knows nothing of how progress is kept; the present is an argument.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np

from hitmesh.model import closing
from hitmesh.model.cells import cell_of, day_start_ms
from hitmesh.model.generations import SETTLEMENT_LOG, DirtySiteDay, MarkRange
from hitmesh.model.keys import hash64, partition_of
from hitmesh.model.limits import AHEAD_TOLERANCE_MS
from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.sites import Site
from hitmesh.model.zones import DAY_MS

DELAYED_AFTER_MS: Final = 15 * 60_000
DEGRADED_AFTER_MS: Final = 60 * 60_000


# Who wrote the record is not known here; the processor logs it.
_CAUSE: Final = (
    "a collector wrote a record while its clock was ahead, or this reporter's clock is behind; the processor's log "
    "names the record: log_time_ahead"
)

Progress = Mapping[PartitionId, PartitionProgress]
NOT_BEGUN: Final = PartitionProgress(next_offset=0, log_time=0)


class State(StrEnum):
    """How far behind the numbers are, or how far ahead the log time of a partition is (rule L2)."""

    LIVE = "live"
    DELAYED = "delayed"
    DEGRADED = "degraded"


class CellState(IntEnum):
    """How final the numbers of a cell are (rule L3); of several cells the least counts."""

    LIVE = 1
    PROVISIONAL = 2
    SETTLED = 3


@dataclass(frozen=True, slots=True)
class Waiting:
    """What of a site is not settled: marked days, and days the live stream counts until they close, ascending."""

    marked: Sequence[DirtySiteDay] = ()
    awaited: Sequence[int] = ()


class Ahead(NamedTuple):
    """A partition whose log time is ahead of the present: it hides a lag, and makes hits late."""

    partition: PartitionId
    log_time: int
    cause: str


@dataclass(frozen=True, slots=True)
class Freshness:
    """How fresh numbers are, in UTC ms. `partitions` are those that matter, each with what is visible of it.

    `complete_through` is 0 while a partition has no progress; the state is then DEGRADED. It is never later than the
    present. `ahead` are partitions whose log time is later by more than AHEAD_TOLERANCE_MS. Cells from `live_from` on
    are live. `unsettled_days`, ascending, are UTC days of any of the sites; every day from `open_from_day` on is not
    settled either. The last three count site-days: marked ones, those of them that settlement itself marked, and those
    that the live stream counts until they close.
    """

    complete_through: int
    lag_ms: int
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
    def live_from(self) -> int:
        """The start of the first live cell."""
        return cell_of(self.complete_through)

    @property
    def provisional_from(self) -> int:
        """The first instant that is not settled."""
        return min(self.live_from, day_start_ms(min([self.open_from_day, *self.unsettled_days[:1]])))

    def state_between(self, start: int, end: int) -> CellState:
        """Returns the state of the least final cell of [start, end), both multiples of 15 min."""
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
    """Returns how far the numbers of some sites together reach.

    Args:
        sites: at least one.
        progress: of every declared partition of the topic of hits, what the store that answers has taken in.
        waiting: per site name what is not settled, read after `progress`.
        now_ms: the present.
    """
    of_sites = [waiting.get(site.name, Waiting()) for site in sites]
    visible: dict[PartitionId, PartitionProgress] = {}
    for site, one in zip(sites, of_sites, strict=True):
        for partition, reached in _visible(site, progress, one.marked).items():
            visible[partition] = earlier(visible.get(partition, reached), reached)
    complete_through = min([now_ms, *(reached.log_time for reached in visible.values())]) if visible else 0
    marked = [dirty for one in of_sites for dirty in one.marked]
    lag_ms = now_ms - complete_through
    ahead = _ahead({name: progress[name] for name in visible}, now_ms)
    return Freshness(
        complete_through=complete_through,
        lag_ms=lag_ms,
        state=state_of(max([lag_ms, *(one.log_time - now_ms for one in ahead)])),
        partitions=visible,
        stalled=tuple(
            partition for partition, reached in sorted(visible.items()) if now_ms - reached.log_time > DELAYED_AFTER_MS
        ),
        unsettled_days=tuple(
            sorted({dirty.site_day.day for dirty in marked}.union(*(one.awaited for one in of_sites)))
        ),
        open_from_day=first_open_day(progress),
        dirty_days=len(marked),
        resettling_days=sum(any(map(_settlement, dirty.marks)) for dirty in marked),
        open_days=sum(len(one.awaited) for one in of_sites),
        ahead=ahead,
    )


def _ahead(progress: Progress, now_ms: int) -> tuple[Ahead, ...]:
    """Returns the partitions whose log time is ahead, whatever of them is visible."""
    return tuple(
        Ahead(partition, reached.log_time, _CAUSE)
        for partition, reached in sorted(progress.items())
        if reached.log_time - now_ms > AHEAD_TOLERANCE_MS
    )


def least(one: Progress, other: Progress) -> dict[PartitionId, PartitionProgress]:
    """Returns what both of two stores have reached of every partition that either knows."""
    return {
        partition: earlier(one.get(partition, NOT_BEGUN), other.get(partition, NOT_BEGUN))
        for partition in {*one, *other}
    }


def first_open_day(progress: Mapping[PartitionId, PartitionProgress]) -> int:
    """Returns the first UTC day that is not closed: a hit of it may still come to some partition of some site."""
    return closing.first_open_day(min((reached.log_time for reached in progress.values()), default=0))


def state_of(lag_ms: int) -> State:
    """Returns the state of numbers that are `lag_ms` behind."""
    if lag_ms <= DELAYED_AFTER_MS:
        return State.LIVE
    return State.DELAYED if lag_ms <= DEGRADED_AFTER_MS else State.DEGRADED


@lru_cache(maxsize=8_192)
def partitions_of_site(site: Site, partitions: int) -> frozenset[int]:
    """Returns the partitions, of so many, in which hits of the site can be (decision A4)."""
    shifts = np.arange(min(site.spread, partitions), dtype=np.uint64)
    hashes = np.full(len(shifts), hash64(site.name), np.uint64)
    spread = np.full(len(shifts), site.spread, np.uint64)
    return frozenset(partition_of(hashes, shifts, spread, partitions).tolist())


def own_partitions(
    site: Site, progress: Mapping[PartitionId, PartitionProgress]
) -> dict[PartitionId, PartitionProgress]:
    """Returns the progress of the partitions in which hits of the site can be, of every log."""
    counts: dict[str, int] = {}
    for partition in progress:
        counts[partition.log] = max(counts.get(partition.log, 0), partition.partition + 1)
    own = {log: partitions_of_site(site, count) for log, count in counts.items()}
    return {partition: reached for partition, reached in progress.items() if partition.partition in own[partition.log]}


def _visible(
    site: Site, progress: Mapping[PartitionId, PartitionProgress], marked: Sequence[DirtySiteDay]
) -> dict[PartitionId, PartitionProgress]:
    """Returns what is visible of each partition of the site: what was committed, less what waits."""
    marks = [mark for dirty in marked for mark in dirty.marks]
    return {
        partition: _held_back(partition, reached, marks)
        for partition, reached in own_partitions(site, progress).items()
    }


def _held_back(partition: PartitionId, reached: PartitionProgress, marks: Sequence[MarkRange]) -> PartitionProgress:
    """Takes off what waits. A day marked by settlement itself waits for no record, but its numbers are not there."""
    offsets = [mark.first_offset for mark in marks if mark.partition == partition]
    times = [mark.first_log_time for mark in marks if mark.partition in (partition, _settlement(mark))]
    return PartitionProgress(next_offset=min([reached.next_offset, *offsets]), log_time=min([reached.log_time, *times]))


def _settlement(mark: MarkRange) -> PartitionId | None:
    return mark.partition if mark.partition.log == SETTLEMENT_LOG else None


def earlier(one: PartitionProgress, other: PartitionProgress) -> PartitionProgress:
    """Returns what both of two readers of a partition have reached."""
    return PartitionProgress(
        next_offset=min(one.next_offset, other.next_offset), log_time=min(one.log_time, other.log_time)
    )
