"""Store the stream table on one machine, in settled.db.

Both the control service and the processor write the stream table.
"""

from __future__ import annotations

from hitmesh.adapters.embedded.sqlite import Database
from hitmesh.adapters.shared.stream_table_values import table_of, table_value
from hitmesh.model.streams import StreamTable


class EmbeddedStreams:
    """Implements the port Streams in settled.db."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def read(self) -> StreamTable:
        """Return the stored table; an empty table before the first change.

        Raises:
            StoreCorrupt: the stored value does not decode.
        """
        with self._database.reading() as transaction:
            return transaction.first(table_of, "SELECT value FROM streams") or StreamTable()

    def replace(self, table: StreamTable) -> bool:
        """Store `table` if its version directly follows the stored version; return True if `table` is now stored."""
        value, before = table_value(table), table.version - 1
        with self._database.writing() as transaction:
            if before == 0:
                done = transaction.run("INSERT OR IGNORE INTO streams VALUES (1, ?, ?)", (table.version, value))
            else:
                update = "UPDATE streams SET version = ?, value = ? WHERE version = ?"
                done = transaction.run(update, (table.version, value, before))
        return bool(done) or self.read() == table
