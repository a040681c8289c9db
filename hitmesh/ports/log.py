"""The port to the log: topics, records, positions, progress.

Three kinds of position occur here.

**Record position** (`Position`; `LoggedPosition` adds the log time): where a record lies, by log, partition and offset.
The log assigns the position when the record is appended. The position never changes and is never reused: raw records,
refusals, dirty marks and claims are stored under the positions of their records, and a second write changes nothing. A
recreated topic is a log with another id (decision A4).

**Read position** (`LogReader.positions`): how far a reader has read a partition, as the offset of the next record to
read and the log time of the last record read (`PartitionProgress`). The read position lives in the reader's memory:
`poll` moves it forward, and closing the reader or losing the partition discards it. A record before the read position
was returned by `poll`; whether the record was applied is unknown.

**Committed position** (`LogReader.committed`): how far the consumer group has applied a partition, in the same form,
stored durably. A new reader starts at the committed position, so a crash or a reassignment repeats the records from
there on and none before. The committed position never moves back. `LogReader.commit` stores the position alone; the
live stream stores positions and the rows made from their records in one transaction (`Outbox.transaction`), so that
neither exists without the other.
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
        """Start to append a record; the future resolves only when the record is durable.

        Order is kept per partition. No record is silently dropped.

        Raises:
            LogFull: at once or through the future; no part of the record was written.
        """

    def flush(self, timeout_s: float) -> None:
        """Block until every append so far is resolved.

        Raises:
            RetryError: some appends are unresolved after `timeout_s`.
        """

    def close(self) -> None:
        """Flush and release all resources. A second call changes nothing."""


class LogReader(Protocol):
    """Reads the partitions of one topic that the reader's group assigns. Confined to one thread.

    The consumer group may reassign partitions at any time. The next `poll` then raises PartitionsMoved; `positions()`
    returns the new assignment, each partition at its committed offset.
    """

    def poll(self, max_hits: int, timeout_s: float) -> list[LoggedRecord]:
        """Return the next records, in order per partition; empty when no record arrives within `timeout_s`.

        The records hold at most `max_hits` rows together; a single larger record is returned alone.

        Raises:
            PartitionsMoved: the assignment changed; all records read and not committed will be read again.
        """

    def heartbeat(self) -> None:
        """Send a heartbeat between polls that are minutes apart. Frequent calls cost nothing.

        Raises:
            PartitionsMoved: as `poll`.
        """

    def positions(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return the next record to read of each assigned partition; every record that `poll` returned lies before.

        For a new reader, and after PartitionsMoved, these are the committed positions.
        """

    def committed(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return the last committed positions; partitions without a commit are at offset 0, log time 0."""

    def commit(self, positions: Mapping[PartitionId, PartitionProgress]) -> None:
        """Store positions durably. A commit never moves back: an older position is ignored.

        Raises:
            PartitionsMoved: this reader has lost partitions; no position was stored.
        """

    def close(self) -> None:
        """Release all resources. A second call changes nothing."""
