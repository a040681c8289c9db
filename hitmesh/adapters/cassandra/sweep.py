"""Where a look at a queue in Cassandra begins: behind the rows that were deleted since the last look from the start.

A deleted row leaves a tombstone that every read passes over until gc_grace is over and a compaction took it. Decides
that a look from the start that took long is repeated later, so that such looks take a twentieth of the time; looks in
between begin in each bucket at the first site that was found last. Pure but for the clock that is handed in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

SHARE: Final = 20
LONG_S: Final = 1.0


class Sweep:
    """Looks at the buckets of one queue. Confined to one thread.

    Args:
        buckets: how many buckets the queue has.
        long_s: a look from the start that took less is repeated at once.
        share: a look that took longer is repeated after so many times its duration.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        buckets: int,
        *,
        long_s: float = LONG_S,
        share: int = SHARE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._long_s = long_s
        self._share = share
        self._clock = clock
        self._first = [""] * buckets
        self._began_s = 0.0
        self._is_whole = True
        self._whole_again_s = float("-inf")

    def begin(self) -> Sequence[str]:
        """Returns the site from which each bucket is to be read, this site included."""
        self._began_s = self._clock()
        self._is_whole = self._began_s >= self._whole_again_s
        if self._is_whole:
            self._first = [""] * len(self._first)
        return tuple(self._first)

    def end(self, found: Sequence[Sequence[str]]) -> None:
        """Notes the sites that were found in each bucket, in the order of the bucket."""
        for bucket, sites in enumerate(found):
            if sites:
                self._first[bucket] = sites[0]
        took_s = self._clock() - self._began_s
        if self._is_whole and took_s >= self._long_s:
            self._whole_again_s = self._began_s + took_s + self._share * took_s
