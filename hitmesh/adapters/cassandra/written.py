"""A bounded cache of the rows that this process has already written, so that the rows are not written again."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, Generic, TypeVar

T = TypeVar("T")
_MAX_KEPT: Final = 100_000


class Written(Generic[T]):
    """An LRU cache of written rows. The rows consist only of a key and never change. Thread-safe.

    Args:
        max_kept: maximum number of rows. If a row was evicted, the next caller writes the row again.
    """

    def __init__(self, max_kept: int = _MAX_KEPT) -> None:
        self._max_kept = max_kept
        self._lock = threading.Lock()
        self._kept: OrderedDict[T, None] = OrderedDict()

    def missing(self, rows: Iterable[T]) -> list[T]:
        """Return the distinct rows that the cache lacks, and that are therefore possibly not stored yet."""
        distinct = dict.fromkeys(rows)
        with self._lock:
            for row in distinct:
                if row in self._kept:
                    self._kept.move_to_end(row)
            return [row for row in distinct if row not in self._kept]

    def note(self, rows: Iterable[T]) -> None:
        """Record that these rows are stored durably."""
        with self._lock:
            self._kept.update(dict.fromkeys(rows))
            while len(self._kept) > self._max_kept:
                self._kept.popitem(last=False)

    def forget(self, row: T) -> None:
        """Remove a row from the cache, because the row was deleted from the table."""
        with self._lock:
            self._kept.pop(row, None)
