"""Remembers the stream table, in case the table's store becomes unavailable (step 8 of the journey)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from hitmesh.model.errors import Unavailable
from hitmesh.model.streams import StreamTable
from hitmesh.ports import Clock
from reporter.answer.standing import MAX_AGE_MS


@dataclass
class KnownStreams:
    """Remembers the stream table that was read last. Thread-safe.

    The remembered table may be used for five minutes. After a stream is replaced, the stream's values stay readable for
    more than five minutes.
    """

    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _table: StreamTable | None = None
    _read_at: int = 0

    def read(self, clock: Clock, read: Callable[[], StreamTable]) -> StreamTable:
        """Read and return the stream table. If the store is unavailable, return the remembered table.

        Raises:
            Unavailable: the store is unavailable, and no table from the last five minutes is remembered.
        """
        now = clock.now()
        try:
            table = read()
        except Unavailable:
            with self._lock:
                if self._table is not None and now - self._read_at <= MAX_AGE_MS:
                    return self._table
            raise
        with self._lock:
            self._table, self._read_at = table, now
        return table
