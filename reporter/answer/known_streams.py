"""Remember the stream table in case its store becomes unavailable (step 8 of the journey)."""

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
    """The stream table that was read last. Thread-safe.

    The remembered table may be used for five minutes; a replaced stream's values stay readable for longer.
    """

    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _table: StreamTable | None = None
    _read_at: int = 0

    def read(self, clock: Clock, read: Callable[[], StreamTable]) -> StreamTable:
        """Read and return the table; if the store is unavailable, return the table that was read last.

        Raises:
            Unavailable: the store is unavailable, and no table is remembered or the remembered table is too old.
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
