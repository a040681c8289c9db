"""Store the committed positions of consumer groups in raw.db, beside the data that is derived from the records.

A position never moves back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from hitmesh.adapters.embedded.sqlite import Database, Transaction
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic


class ReaderPositions:
    """The committed positions of all consumer groups, in raw.db."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def committed(self, topic: Topic, group: str) -> Mapping[PartitionId, PartitionProgress]:
        """Return the consumer group's committed positions; partitions without a commit are absent."""
        with self._database.reading() as transaction:
            return committed_positions(transaction, topic, group)

    def commit(self, topic: Topic, group: str, positions: Mapping[PartitionId, PartitionProgress]) -> None:
        """Commit positions; a position older than the committed position is ignored."""
        with self._database.writing() as transaction:
            save_positions(transaction, topic, group, positions)

    def forget(self, group: str) -> None:
        """Remove a consumer group's positions; idempotent."""
        with self._database.writing() as transaction:
            transaction.run("DELETE FROM reader_positions WHERE group_name = ?", (group,))

    def committed_by_all(self, topic: Topic) -> Mapping[PartitionId, int]:
        """Return each partition's smallest offset among all consumer groups' commits; 0 if a group has no commit."""
        with self._database.reading() as transaction:
            rows = transaction.rows(
                _Lowest,
                """SELECT log_id, partition_no, min(next_offset), count(*) = (
                    SELECT count(DISTINCT group_name) FROM reader_positions WHERE topic = ?1
                ) FROM reader_positions WHERE topic = ?1 GROUP BY log_id, partition_no""",
                (topic,),
            )
        return {PartitionId(row.log, row.partition): row.offset if row.by_all else 0 for row in rows}


def committed_positions(transaction: Transaction, topic: Topic, group: str) -> dict[PartitionId, PartitionProgress]:
    """Return a consumer group's positions, read in a raw.db transaction; partitions without a commit are absent."""
    rows = transaction.rows(
        _Committed,
        """SELECT log_id, partition_no, next_offset, log_time FROM reader_positions
        WHERE topic = ? AND group_name = ?""",
        (topic, group),
    )
    return {PartitionId(row.log, row.partition): PartitionProgress(row.offset, row.log_time) for row in rows}


def save_positions(
    transaction: Transaction, topic: Topic, group: str, positions: Mapping[PartitionId, PartitionProgress]
) -> None:
    """Save positions within a raw.db transaction; a position older than the stored position is ignored."""
    transaction.run_many(
        """INSERT INTO reader_positions VALUES (?, ?, ?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET
            next_offset = excluded.next_offset, log_time = max(log_time, excluded.log_time)
        WHERE excluded.next_offset >= next_offset""",
        [
            (topic, group, partition.log, partition.partition, progress.next_offset, progress.log_time)
            for partition, progress in positions.items()
        ],
    )


class _Committed(NamedTuple):
    log: str
    partition: int
    offset: int
    log_time: int


class _Lowest(NamedTuple):
    log: str
    partition: int
    offset: int
    by_all: int
