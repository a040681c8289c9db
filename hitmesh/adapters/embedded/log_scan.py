"""Read records of log.db again, without a consumer group, to rebuild state from the log (architecture A5).

A scan holds a limited number of records in memory. The scan neither reads nor commits the positions of a consumer
group.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from hitmesh.adapters.embedded.catalogue import LogCatalogue
from hitmesh.adapters.embedded.log_reader import records_between
from hitmesh.adapters.embedded.sqlite import Database, Transaction
from hitmesh.model.positions import PartitionId, Topic
from hitmesh.model.records import LoggedRecord

_CHUNK_RECORDS: Final = 32


class EmbeddedLogScan:
    """Implements the port LogScan on log.db. Thread-safe.

    Args:
        database: log.db.
        catalogue: the log of each topic.
    """

    def __init__(self, database: Database, catalogue: LogCatalogue) -> None:
        self._database = database
        self._catalogue = catalogue

    def first_offset(self, partition: PartitionId) -> int:
        """Return the first retained offset, or the end offset if no record is retained."""
        topic = self._catalogue.topic_of(partition.log)
        with self._database.reading() as transaction:
            return _retained(transaction, topic, partition)[0]

    def offset_at(self, partition: PartitionId, log_time: int) -> int:
        """Return the first retained offset whose log time is at least `log_time`, or else the end offset.

        Log time never decreases, so a binary search finds the offset.
        """
        topic = self._catalogue.topic_of(partition.log)
        with self._database.reading() as transaction:
            first, end = _retained(transaction, topic, partition)
            while first < end:
                middle = (first + end) // 2
                if _log_time(transaction, topic, partition, middle) < log_time:
                    first = middle + 1
                else:
                    end = middle
        return first

    def read(
        self, partition: PartitionId, first_offset: int, end_offset: int, log_time: int = 0
    ) -> Iterator[LoggedRecord]:
        """Yield the retained records of [first_offset, end_offset) in order.

        The argument `log_time` is ignored, because the records in this log store their own log times.
        """
        topic = self._catalogue.topic_of(partition.log)
        with self._database.reading() as transaction:
            first, end = _retained(transaction, topic, partition)
        last = min(end, end_offset)
        for start in range(max(first, first_offset), last, _CHUNK_RECORDS):
            with self._database.reading() as transaction:
                chunk = records_between(transaction, topic, partition, start, min(start + _CHUNK_RECORDS, last))
            yield from chunk


def _retained(transaction: Transaction, topic: Topic, partition: PartitionId) -> tuple[int, int]:
    """Return the first retained offset and the end offset.

    Every offset from the first to the end is retained, because a partition is trimmed only at its beginning.
    """
    end = transaction.first(
        int, "SELECT next_offset FROM ends WHERE topic = ? AND partition_no = ?", (topic, partition.partition)
    )
    if end is None:
        raise ValueError(f"{partition.log} has no partition {partition.partition}")
    first = transaction.first(
        int,
        "SELECT record_offset FROM records WHERE topic = ? AND partition_no = ? ORDER BY record_offset LIMIT 1",
        (topic, partition.partition),
    )
    return (end if first is None else first), end


def _log_time(transaction: Transaction, topic: Topic, partition: PartitionId, offset: int) -> int:
    (log_time,) = transaction.rows(
        int,
        "SELECT log_time FROM records WHERE topic = ? AND partition_no = ? AND record_offset = ?",
        (topic, partition.partition, offset),
    )
    return log_time
