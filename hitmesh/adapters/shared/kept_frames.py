"""An LRU cache of data frames with a limit on the cached bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

import polars as pl

_OVERHEAD_BYTES: Final = 1_024  # this number is added to each frame's size, so that frames without rows count too


class KeptFrames:
    """Caches frames by key, and evicts the least recently used frame first. Thread-safe.

    Args:
        max_bytes: limit on cached bytes; a larger frame is returned but not cached.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[pl.DataFrame, int]] = OrderedDict()
        self._bytes = 0

    def of(self, key: Hashable, make: Callable[[], pl.DataFrame]) -> pl.DataFrame:
        """Return the cached frame for a key, or the result of `make` on a miss.

        `make` must always return equal frames for a key.
        """
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key][0]
        frame = make()
        size = int(frame.estimated_size()) + _OVERHEAD_BYTES
        with self._lock:
            if size <= self._max_bytes and key not in self._kept:
                self._kept[key] = frame, size
                self._bytes += size
            while self._bytes > self._max_bytes:
                _, (_, gone) = self._kept.popitem(last=False)
                self._bytes -= gone
        return frame
