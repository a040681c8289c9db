"""Change log records in log.db, on a single machine, to erase hits."""

from __future__ import annotations

from collections.abc import Sequence

from hitmesh.adapters.embedded.catalogue import LogCatalogue
from hitmesh.adapters.embedded.log_reader import records_between
from hitmesh.adapters.embedded.sqlite import Database
from hitmesh.model.limits import CELL_MS
from hitmesh.model.positions import PartitionId, Position
from hitmesh.model.records import LoggedRecord


class EmbeddedLogEraser:
    """Implements the port LogEraser on log.db.

    Args:
        database: log.db.
        catalogue: each topic's log.
        files: all files from which hits are erased.
    """

    def __init__(self, database: Database, catalogue: LogCatalogue, files: Sequence[Database] = ()) -> None:
        self._database = database
        self._catalogue = catalogue
        self._files = files

    def record(self, position: Position) -> LoggedRecord | None:
        """Return the retained record at a position.

        Return None if the record was trimmed or belongs to another store's log.
        """
        log, number, offset = position
        try:
            topic = self._catalogue.topic_of(log)
        except ValueError:
            return None
        with self._database.reading() as transaction:
            found = records_between(transaction, topic, PartitionId(log, number), offset, offset + 1)
        return next(iter(found), None)

    def replace(self, logged: LoggedRecord, seen: bytes | None = None) -> bool:
        """Replace a retained record's value and times durably, and overwrite the replaced bytes in the file."""
        (log, number, offset), record = logged.position, logged.record
        try:
            topic = self._catalogue.topic_of(log)
        except ValueError:
            return False
        with self._database.erasing() as transaction:
            changed = transaction.run(
                """UPDATE records SET value = ?1, min_event_time = ?2, max_event_time = ?3,
                    max_collect_time = max_collect_time - max_collect_time % ?8
                WHERE topic = ?4 AND partition_no = ?5 AND record_offset = ?6 AND value = coalesce(?7, value)""",
                (record.value, record.min_event_time, record.max_event_time, topic, number, offset, seen, CELL_MS),
            )
        return changed > 0

    def overwrite(self) -> None:
        """Move all changes from the write-ahead logs into the database files, and empty the write-ahead logs."""
        for file in self._files:
            file.checkpoint()

    def kept_until(self, log_time: int) -> int:
        """Return 0, because `replace` removes the erased bytes from the log."""
        return 0
