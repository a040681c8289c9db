"""When the state of which partition is saved (decision 0034). Pure: times in, a name out.

Decides that the stream stands still for one partition at a time and for a fiftieth of its time at most: a snapshot is
there to shorten a recovery, which reads the kept hits from the log in any case.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from hitmesh.model.positions import PartitionId

# After a snapshot that took a second none is taken for 49: of ten million open visits one takes three.
REST: Final = 49
# A machine that slept meanwhile seems to have saved for hours.
LONGEST_REST_MS: Final = 3_600_000


class Turns:
    """Whose turn it is. Times are ms of one clock.

    Args:
        every_ms: the state of each partition is saved this often, when there is time for it.
    """

    def __init__(self, every_ms: int) -> None:
        self._every_ms = every_ms
        self._due: dict[PartitionId, int] = {}
        self._rests_until = 0

    def begin(self, names: Iterable[PartitionId], now_ms: int) -> None:
        """Begin with these partitions: none is due at once, and no two at the same time."""
        names = sorted(names)
        self._due = {name: now_ms + self._every_ms * number // len(names) for number, name in enumerate(names, start=1)}

    def due(self, now_ms: int) -> PartitionId | None:
        """Return the partition that has waited longest, None while none is due or the last one is still made up for."""
        if now_ms < self._rests_until or not self._due:
            return None
        name = min(self._due, key=lambda one: (self._due[one], one))
        return name if self._due[name] <= now_ms else None

    def saved(self, name: PartitionId, began_ms: int, ended_ms: int) -> None:
        """Note a snapshot. Even when all are to be saved at all times, none is twice in the same millisecond."""
        self._due[name] = began_ms + max(self._every_ms, 1)
        self._rests_until = ended_ms + min(REST * (ended_ms - began_ms), LONGEST_REST_MS)
