"""How far each group of readers got, in raw.db: beside what the processor makes of the records.

Decides that a position never moves back; refuses to know what the records are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from hitmesh.adapters.embedded.sqlite import Database, Transaction
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic


class ReaderPositions:
    """Committed positions of all readers, in raw.db."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def committed(self, topic: Topic, group: str) -> Mapping[PartitionId, PartitionProgress]:
        """Returns what the group committed; partitions without a commit are absent."""
        with self._database.reading() as transaction:
            return committed_positions(transaction, topic, group)

    def commit(self, topic: Topic, group: str, positions: Mapping[PartitionId, PartitionProgress]) -> None:
        """Saves positions; older ones than what is there change nothing."""
        with self._database.writing() as transaction:
            save_positions(transaction, topic, group, positions)

    def committed_by_all(self, topic: Topic) -> Mapping[PartitionId, int]:
        """Returns the offset below which every group of the topic has committed; 0s when one has nothing."""
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
    """Returns what the group committed, in a transaction of raw.db; partitions without a commit are absent."""
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
    """Saves positions in a transaction of raw.db; older ones than what is there change nothing."""
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
