"""How far the numbers of a site reach (step 8 of the journey; rules L1 to L3).

Decides `complete_through`: every hit acknowledged before it is in the answer. It is the least, over the partitions that
the site's hits can be in, of what the processor applied and of the first record that still waits to be settled.
The caller reads progress first, then what waits, then generations: in any other order a hit could be passed over.

Knows nothing of how progress is kept; the present is an argument.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from hitmesh.cells import cell_of, day_start_ms
from hitmesh.keys import hash64, partition_of
from hitmesh.ports import SETTLEMENT_LOG, DirtySiteDay, MarkRange, PartitionId, PartitionProgress, Site

DELAYED_AFTER_MS: Final = 15 * 60_000
DEGRADED_AFTER_MS: Final = 60 * 60_000


class State(StrEnum):
    """How far behind the numbers are (rule L2)."""

    LIVE = "live"
    DELAYED = "delayed"
    DEGRADED = "degraded"


@dataclass(frozen=True, slots=True)
class Freshness:
    """How fresh numbers are, in UTC ms. `partitions` are those that matter, each with what is visible of it.

    `complete_through` is 0 while a partition has no progress; the state is then DEGRADED. `resettling_days` are those
    of `dirty_days` that settlement itself marked.
    """

    complete_through: int
    provisional_from: int
    lag_ms: int
    state: State
    partitions: Mapping[PartitionId, PartitionProgress]
    stalled: tuple[PartitionId, ...]
    dirty_days: int
    resettling_days: int


def freshness(
    sites: Sequence[Site],
    progress: Mapping[PartitionId, PartitionProgress],
    pending: Mapping[str, Sequence[DirtySiteDay]],
    now_ms: int,
) -> Freshness:
    """Returns how far the numbers of some sites together reach.

    Args:
        sites: at least one.
        progress: of every declared partition of the topic of hits.
        pending: per site name what waits to be settled, read after `progress`.
        now_ms: the present.
    """
    visible: dict[PartitionId, PartitionProgress] = {}
    for site in sites:
        for partition, reached in _visible(site, progress, pending.get(site.name, ())).items():
            visible[partition] = _earlier(visible.get(partition, reached), reached)
    complete_through = min((reached.log_time for reached in visible.values()), default=0)
    waiting = [dirty for site in sites for dirty in pending.get(site.name, ())]
    lag_ms = max(0, now_ms - complete_through)
    return Freshness(
        complete_through=complete_through,
        provisional_from=min([cell_of(complete_through), *(day_start_ms(dirty.site_day.day) for dirty in waiting)]),
        lag_ms=lag_ms,
        state=state_of(lag_ms),
        partitions=visible,
        stalled=tuple(
            partition for partition, reached in sorted(visible.items()) if now_ms - reached.log_time > DELAYED_AFTER_MS
        ),
        dirty_days=len(waiting),
        resettling_days=sum(any(map(_settlement, dirty.marks)) for dirty in waiting),
    )


def state_of(lag_ms: int) -> State:
    """Returns the state of numbers that are `lag_ms` behind."""
    if lag_ms <= DELAYED_AFTER_MS:
        return State.LIVE
    return State.DELAYED if lag_ms <= DEGRADED_AFTER_MS else State.DEGRADED


def partitions_of_site(site: Site, partitions: int) -> frozenset[int]:
    """Returns the partitions, of so many, in which hits of the site can be (decision A4)."""
    shifts = np.arange(min(site.spread, partitions), dtype=np.uint64)
    hashes = np.full(len(shifts), hash64(site.name), np.uint64)
    spread = np.full(len(shifts), site.spread, np.uint64)
    return frozenset(partition_of(hashes, shifts, spread, partitions).tolist())


def _visible(
    site: Site, progress: Mapping[PartitionId, PartitionProgress], pending: Sequence[DirtySiteDay]
) -> dict[PartitionId, PartitionProgress]:
    """Returns what is visible of each partition of the site: what was applied, less what waits."""
    marks = [mark for dirty in pending for mark in dirty.marks]
    counts: dict[str, int] = {}
    for partition in progress:
        counts[partition.log] = max(counts.get(partition.log, 0), partition.partition + 1)
    own = {log: partitions_of_site(site, count) for log, count in counts.items()}
    return {
        partition: _held_back(partition, reached, marks)
        for partition, reached in progress.items()
        if partition.partition in own[partition.log]
    }


def _held_back(partition: PartitionId, reached: PartitionProgress, marks: Sequence[MarkRange]) -> PartitionProgress:
    """Takes off what waits. A day marked by settlement itself waits for no record, but its numbers are not there."""
    offsets = [mark.first_offset for mark in marks if mark.partition == partition]
    times = [mark.first_log_time for mark in marks if mark.partition in (partition, _settlement(mark))]
    return PartitionProgress(next_offset=min([reached.next_offset, *offsets]), log_time=min([reached.log_time, *times]))


def _settlement(mark: MarkRange) -> PartitionId | None:
    return mark.partition if mark.partition.log == SETTLEMENT_LOG else None


def _earlier(one: PartitionProgress, other: PartitionProgress) -> PartitionProgress:
    return PartitionProgress(
        next_offset=min(one.next_offset, other.next_offset), log_time=min(one.log_time, other.log_time)
    )
