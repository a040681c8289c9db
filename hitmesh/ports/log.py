"""The ports to the log: EventLog appends records, LogReader reads records.

These ports use three kinds of positions.

**Record position** (`Position`; `LoggedPosition` adds the log time): the location of a record, by log, partition and
offset. The log assigns the position when the record is appended. The position never changes and is never reused. So raw
records, refusals, dirty marks and claims are stored under the positions of their records, and a second write of the
same value changes nothing. A recreated topic is a new log with a new id (architecture A4).

**Read position** (`LogReader.positions`): how far a reader has read a partition, as the offset of the next record to
read and the log time of the last record read (`PartitionProgress`). The read position lives in the reader's memory:
`poll` moves the read position forward, and closing the reader or losing the partition discards the read position.
`poll` has returned every record before the read position, but some of these records may not be applied yet.

**Committed position** (`LogReader.committed`): how far the consumer group has applied a partition, also as a
`PartitionProgress`, but stored durably. A new reader starts at the committed position, so after a crash or a
reassignment, exactly the records from this position on are read again. The committed position never moves back.
`LogReader.commit` stores only the position. The live stream stores positions, and the rows made from the records before
them, in a single transaction (`Outbox.transaction`), so that neither exists without the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Protocol

from hitmesh.model.positions import LoggedPosition, PartitionId, PartitionProgress, Topic
from hitmesh.model.records import LoggedRecord, Record


class EventLog(Protocol):
    """Appends records to the log. Thread-safe."""

    def partitions(self, topic: Topic) -> int:
        """Return the topic's partition count."""

    def log_id(self, topic: Topic) -> str:
        """Return the id of the topic's current log."""

    def append(self, topic: Topic, partition: int, record: Record) -> Future[LoggedPosition]:
        """Start to append a record; the future returns the position only when the record is durable.

        Records of a partition keep their order. No record is dropped silently.

        Raises:
            LogFull: raised at once or by the future; no part of the record was written.
        """

    def flush(self, timeout_s: float) -> None:
        """Block until the futures of all appends so far are done.

        Raises:
            RetryError: some futures are not done after `timeout_s`.
        """

    def close(self) -> None:
        """Flush and release all resources. A second call changes nothing."""


class LogReader(Protocol):
    """Reads the partitions of a single topic that the consumer group assigns to this reader. Confined to one thread.

    The consumer group may reassign partitions at any time. The next `poll` then raises PartitionsMoved; `positions()`
    returns the new assignment, each partition at its committed offset.
    """

    def poll(self, max_hits: int, timeout_s: float) -> list[LoggedRecord]:
        """Return the next records, in order per partition; none if no record arrives within `timeout_s`.

        Together, the records hold at most `max_hits` rows; a record with more rows is returned alone.

        Raises:
            PartitionsMoved: the assignment changed; all records that were read but not committed will be read again.
        """

    def heartbeat(self) -> None:
        """Tell the consumer group that this reader is alive; must be called between polls that are minutes apart.

        Frequent calls are cheap.

        Raises:
            PartitionsMoved: as in `poll`.
        """

    def positions(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return the read position in each assigned partition.

        For a new reader, and after PartitionsMoved, these are the committed positions.
        """

    def committed(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return the committed position in each partition; offset 0 and log time 0 for a partition without a commit."""

    def commit(self, positions: Mapping[PartitionId, PartitionProgress]) -> None:
        """Commit positions durably. An older position than the committed position is ignored.

        Raises:
            PartitionsMoved: this reader has lost partitions; no position was stored.
        """

    def close(self) -> None:
        """Release all resources. A second call changes nothing."""
