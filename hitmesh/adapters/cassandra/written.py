"""What this process has written already and need not write again. Decides how much it remembers; knows no table."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, Generic, TypeVar

T = TypeVar("T")
_MAX_KEPT: Final = 100_000


class Written(Generic[T]):
    """Rows without values that are written once and stay: the last used ones. Thread-safe.

    Args:
        max_kept: how many are remembered; one that was forgotten is written again.
    """

    def __init__(self, max_kept: int = _MAX_KEPT) -> None:
        self._max_kept = max_kept
        self._lock = threading.Lock()
        self._kept: OrderedDict[T, None] = OrderedDict()

    def missing(self, rows: Iterable[T]) -> list[T]:
        """Returns those of the rows that are not known to be written, each once."""
        asked = dict.fromkeys(rows)
        with self._lock:
            for row in asked:
                if row in self._kept:
                    self._kept.move_to_end(row)
            return [row for row in asked if row not in self._kept]

    def note(self, rows: Iterable[T]) -> None:
        """Remembers that rows are durable."""
        with self._lock:
            self._kept.update(dict.fromkeys(rows))
            while len(self._kept) > self._max_kept:
                self._kept.popitem(last=False)

    def forget(self, row: T) -> None:
        """Forgets a row that was deleted."""
        with self._lock:
            self._kept.pop(row, None)
