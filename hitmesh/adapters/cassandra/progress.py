"""How far the processor applied each partition of the log: what freshness is computed from (rule L1).

Decides how a position never moves back without a condition and its four round trips: the log time is the write
timestamp. Log time never decreases within a partition, so a later position overwrites an earlier one whatever the order
of the writes, and of equal timestamps Cassandra keeps the larger value. A position of another writer, of a group's
former member too, is never more than what that group committed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic

_START: Final = PartitionProgress(0, 0)
_MICROSECONDS: Final = 1_000


class Catalogue(Protocol):
    """Knows the declared partitions."""

    def partition_ids(self, topic: Topic) -> list[PartitionId]:
        """Returns the partitions of the topic's current log."""


class CassandraProgress:
    """A ProgressReader over what was published to it."""

    def __init__(self, session: CassandraSession, catalogue: Catalogue) -> None:
        self._session = session
        self._catalogue = catalogue

    def publish(self, positions: Mapping[PartitionId, PartitionProgress]) -> None:
        """Says that all before these positions is applied and committed; older positions are ignored."""
        self._session.run_many(
            "INSERT INTO progress (log, partition, next_offset, log_time) VALUES (?, ?, ?, ?) USING TIMESTAMP ?",
            [
                (*partition, progress.next_offset, progress.log_time, progress.log_time * _MICROSECONDS)
                for partition, progress in positions.items()
            ],
        )

    def progress(self, topic: Topic) -> Mapping[PartitionId, PartitionProgress]:
        """Returns the committed progress of every declared partition; one without is (0, 0)."""
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
