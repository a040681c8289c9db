"""Store how much of each log partition is processed; freshness is computed from this progress (rule L1).

A position never moves back. A conditional write, which takes four round trips, is not needed, because the log time is
the write timestamp. Log time never decreases within a partition, so a later position overwrites an earlier position in
any order of writes. For equal timestamps, Cassandra keeps the larger value. Every writer, even a former member of the
consumer group, publishes only positions that the consumer group has committed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.adapters.shared.catalogue import log_of_stream
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic

_START: Final = PartitionProgress(0, 0)
_MICROSECONDS: Final = 1_000


class Catalogue(Protocol):
    """Looks up which partitions were declared for a topic."""

    def partition_ids(self, topic: Topic) -> list[PartitionId]:
        """Return the partitions of the topic's current log."""


class CassandraProgress:
    """Implements the port ProgressReader with published positions.

    Args:
        session: the connection.
        catalogue: the source of declared partitions.
        shadow: the generation of the shadow stream whose positions are stored; 0 stores the positions of the processor.
    """

    def __init__(self, session: CassandraSession, catalogue: Catalogue, shadow: int = 0) -> None:
        self._session = session
        self._catalogue = catalogue
        self._shadow = shadow

    def publish(self, positions: Mapping[PartitionId, PartitionProgress]) -> None:
        """Publish that all records before these positions are applied and committed. Older positions are ignored."""
        self._session.run_many(
            "INSERT INTO progress (log, partition, next_offset, log_time) VALUES (?, ?, ?, ?) USING TIMESTAMP ?",
            [
                (
                    log_of_stream(partition.log, self._shadow),
                    partition.partition,
                    progress.next_offset,
                    progress.log_time,
                    progress.log_time * _MICROSECONDS,
                )
                for partition, progress in positions.items()
            ],
        )

    def progress(self, topic: Topic) -> Mapping[PartitionId, PartitionProgress]:
        """Return the committed progress of every declared partition; (0, 0) before the first commit."""
        declared = self._catalogue.partition_ids(topic)
        logs = sorted({partition.log for partition in declared})
        answers = self._session.run_each(
            "SELECT log, partition, next_offset, log_time FROM progress WHERE log = ?",
            [(log_of_stream(log, self._shadow),) for log in logs],
        )
        known = {
            PartitionId(log, row.partition): PartitionProgress(row.next_offset, row.log_time)
            for log, rows in zip(logs, answers, strict=True)
            for row in rows
        }
        return {partition: known.get(partition, _START) for partition in declared}

    def forget(self) -> None:
        """Remove the shadow stream's positions; idempotent."""
        logs = {partition.log for topic in Topic for partition in self._catalogue.partition_ids(topic)}
        if self._shadow:
            self._session.run_many(
                "DELETE FROM progress WHERE log = ?", [(log_of_stream(log, self._shadow),) for log in sorted(logs)]
            )
