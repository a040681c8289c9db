"""Store the stream table on Cassandra, in a single row. The row is replaced only if its version is unchanged."""

from __future__ import annotations

from typing import Final

from hitmesh.adapters.cassandra.session import CassandraSession, Values
from hitmesh.adapters.shared.stream_table_values import table_of, table_value
from hitmesh.model.errors import Unavailable
from hitmesh.model.streams import StreamTable

_INSERT: Final = "INSERT INTO streams (zero, version, value) VALUES (0, ?, ?) IF NOT EXISTS"
_UPDATE: Final = "UPDATE streams SET version = ?, value = ? WHERE zero = 0 IF version = ?"


class CassandraStreams:
    """Implements the port Streams. Thread-safe."""

    def __init__(self, session: CassandraSession) -> None:
        self._session = session

    def read(self) -> StreamTable:
        """Return the stored table; an empty table before the first change.

        Raises:
            StoreCorrupt: the stored value does not decode.
        """
        return self._read(serial=False)

    def replace(self, table: StreamTable) -> bool:
        """Store `table` if its version directly follows the stored version; return True if `table` is now stored.

        Raises:
            Unavailable: the outcome is unknown; a repeated call returns the outcome.
        """
        value, before = table_value(table), table.version - 1
        values: Values = (table.version, value) if before == 0 else (table.version, value, before)
        try:
            if self._session.apply(_INSERT if before == 0 else _UPDATE, values):
                return True
        except Unavailable:
            if self._read(serial=True) == table:
                return True
            raise
        return self._read(serial=True) == table

    def _read(self, *, serial: bool) -> StreamTable:
        rows = self._session.run("SELECT value FROM streams WHERE zero = 0", serial=serial)
        return table_of(rows[0].value) if rows else StreamTable()
