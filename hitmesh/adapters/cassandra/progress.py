"""The processor's applied position in each log partition, the basis of freshness (rule L1).

A position never moves back. No conditional write, with four round trips, is needed, because the log time is the write
timestamp: log time never decreases within a partition, so a later position overwrites an earlier position in any write
order, and for equal timestamps Cassandra keeps the larger value. No writer, not even a former member of the consumer
group, publishes a position that the consumer group has not committed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic

_START: Final = PartitionProgress(0, 0)
_MICROSECONDS: Final = 1_000


class Catalogue(Protocol):
    """The source of declared partitions."""

    def partition_ids(self, topic: Topic) -> list[PartitionId]:
        """Return the partitions of the topic's current log."""


class CassandraProgress:
    """A ProgressReader over published positions."""

    def __init__(self, session: CassandraSession, catalogue: Catalogue) -> None:
        self._session = session
        self._catalogue = catalogue

    def publish(self, positions: Mapping[PartitionId, PartitionProgress]) -> None:
        """Publish that everything before these positions is applied and committed; ignore older positions."""
        self._session.run_many(
            "INSERT INTO progress (log, partition, next_offset, log_time) VALUES (?, ?, ?, ?) USING TIMESTAMP ?",
            [
                (*partition, progress.next_offset, progress.log_time, progress.log_time * _MICROSECONDS)
                for partition, progress in positions.items()
            ],
        )

    def progress(self, topic: Topic) -> Mapping[PartitionId, PartitionProgress]:
        """Return the committed progress of every declared partition; (0, 0) before the first commit."""
        declared = self._catalogue.partition_ids(topic)
        logs = sorted({partition.log for partition in declared})
        answers = self._session.run_each(
            "SELECT log, partition, next_offset, log_time FROM progress WHERE log = ?", [(log,) for log in logs]
        )
        known = {
            PartitionId(row.log, row.partition): PartitionProgress(row.next_offset, row.log_time)
            for rows in answers
            for row in rows
        }
        return {partition: known.get(partition, _START) for partition in declared}
