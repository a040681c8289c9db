"""Schedules state snapshots (decision 0034). This module has no clock and no I/O: times are arguments.

The stream pauses during a snapshot. Partitions are saved one at a time, and snapshots take at most a fiftieth of the
stream's time. Snapshots are not urgent: a newer snapshot only makes a recovery shorter, and a recovery without a
hand-over reads the kept hits from the log anyway.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from hitmesh.model.positions import PartitionId

# After a snapshot, the pause is this many times as long as the snapshot took. With ten million open visits, a snapshot
# takes 10 s.
REST: Final = 49
# The maximum pause. If the machine was suspended during a snapshot, the snapshot seems to have taken hours.
LONGEST_REST_MS: Final = 3_600_000


class Turns:
    """Selects the partition whose snapshot is next. All times are in ms and must come from the same clock.

    Args:
        every_ms: the minimum interval between a partition's snapshots.
    """

    def __init__(self, every_ms: int) -> None:
        self._every_ms = every_ms
        self._due: dict[PartitionId, int] = {}
        self._rests_until = 0

    def begin(self, partitions: Iterable[PartitionId], now_ms: int) -> None:
        """Schedule these partitions' first snapshots, spread over the interval."""
        partitions = sorted(partitions)
        self._due = {
            partition: now_ms + self._every_ms * number // len(partitions)
            for number, partition in enumerate(partitions, start=1)
        }

    def due(self, now_ms: int) -> PartitionId | None:
        """Return the partition whose snapshot is most overdue.

        If no snapshot is due, return None. Also return None during a pause after a snapshot.
        """
        if now_ms < self._rests_until or not self._due:
            return None
        partition = min(self._due, key=lambda candidate: (self._due[candidate], candidate))
        return partition if self._due[partition] <= now_ms else None

    def saved(self, partition: PartitionId, began_ms: int, ended_ms: int) -> None:
        """Record a snapshot. Even if the interval is 0, a partition is not saved twice in the same millisecond."""
        self._due[partition] = began_ms + max(self._every_ms, 1)
        self._rests_until = ended_ms + min(REST * (ended_ms - began_ms), LONGEST_REST_MS)
