"""Keep the stream table in memory."""

from __future__ import annotations

import threading

from hitmesh.model.streams import StreamTable


class MemoryStreams:
    """Implements the port Streams in memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._table = StreamTable()

    def read(self) -> StreamTable:
        """Return the table."""
        with self._lock:
            return self._table

    def replace(self, table: StreamTable) -> bool:
        """Store `table` if its version directly follows the stored version; return True if `table` is now stored."""
        with self._lock:
            if self._table.version == table.version - 1:
                self._table = table
            return self._table == table
