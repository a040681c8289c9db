"""Schedule state snapshots (decision 0034). No clock and no I/O: times are arguments.

Because the stream pauses during a snapshot, snapshots are taken of one partition at a time, and take at most a fiftieth
of the stream's time. Snapshots can wait, because a snapshot only shortens a recovery, and every recovery reads the
kept hits from the log.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from hitmesh.model.positions import PartitionId

# After a snapshot that took 1 s, none is taken for 49 s. With ten million open visits a snapshot takes 10 s.
REST: Final = 49
# If the machine was suspended during a snapshot, the snapshot seems to have taken hours.
LONGEST_REST_MS: Final = 3_600_000


class Turns:
    """Select the partition whose snapshot is next. Times are ms of the same clock.

    Args:
        every_ms: minimum interval between snapshots of a partition.
    """

    def __init__(self, every_ms: int) -> None:
        self._every_ms = every_ms
        self._due: dict[PartitionId, int] = {}
        self._rests_until = 0

    def begin(self, partitions: Iterable[PartitionId], now_ms: int) -> None:
        """Start with these partitions: none is due at once, and no two are due at the same time."""
        partitions = sorted(partitions)
        self._due = {
            partition: now_ms + self._every_ms * number // len(partitions)
            for number, partition in enumerate(partitions, start=1)
        }

    def due(self, now_ms: int) -> PartitionId | None:
        """Return the partition that has waited longest; None when none is due, or during the pause after a snapshot."""
        if now_ms < self._rests_until or not self._due:
            return None
        partition = min(self._due, key=lambda candidate: (self._due[candidate], candidate))
        return partition if self._due[partition] <= now_ms else None

    def saved(self, partition: PartitionId, began_ms: int, ended_ms: int) -> None:
        """Record a snapshot. Even with an interval of 0, no partition is saved twice in the same millisecond."""
        self._due[partition] = began_ms + max(self._every_ms, 1)
        self._rests_until = ended_ms + min(REST * (ended_ms - began_ms), LONGEST_REST_MS)
