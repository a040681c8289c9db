"""Decide where a read of a queue in Cassandra begins, so that the read passes over few deleted rows.

A deleted row leaves a tombstone. Compaction removes the tombstone after gc_grace has expired; until then, every read
passes over the tombstone. A slow full read is therefore repeated only after a delay, so that full reads take at most a
twentieth of the time. Between full reads, a read begins in each bucket at the first site that the previous read found.
This module is pure except for the injected clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

SHARE: Final = 20
LONG_S: Final = 1.0


class Sweep:
    """Keeps, for each bucket of a queue, the site at which the next read begins. For use by one thread only.

    Args:
        buckets: the number of buckets in the queue.
        long_s: a full read that takes fewer than `long_s` seconds may be repeated at once.
        share: the delay after a longer full read, as a multiple of the read's duration.
        clock: returns monotonic seconds.
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
        """Return, for each bucket, the first site to read."""
        self._began_s = self._clock()
        self._is_whole = self._began_s >= self._whole_again_s
        if self._is_whole:
            self._first = [""] * len(self._first)
        return tuple(self._first)

    def end(self, found: Sequence[Sequence[str]]) -> None:
        """Record the sites that the read found in each bucket; `found` is in the order of the buckets."""
        for bucket, sites in enumerate(found):
            if sites:
                self._first[bucket] = sites[0]
        took_s = self._clock() - self._began_s
        if self._is_whole and took_s >= self._long_s:
            self._whole_again_s = self._began_s + took_s + self._share * took_s
