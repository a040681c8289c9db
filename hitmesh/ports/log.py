"""The ports to the log. EventLog appends records, and LogReader reads records.

EventLog and LogReader use three kinds of positions.

**Record position** (`Position`, or `LoggedPosition` with the log time) is the location of a record: its log, partition
and offset. The log assigns the position when the record is appended. A record position never changes and is never
reused. Other stores therefore use record positions as keys: the stores of raw records, refusals, dirty marks and
claims. A second write with the same position changes nothing. A recreated topic is a new log with a new id
(architecture A4).

**Read position** (`LogReader.positions`) states how far a reader has read a partition. A read position
(`PartitionProgress`) consists of two values: the next record's offset, and the log time of the last record that was
read. The read position is kept only in the reader's memory. `poll` moves the read position forward. The read position
is lost when the reader is closed or loses the partition. `poll` has returned every record before the read position, but
the caller may not have applied all of these records yet.

**Committed position** (`LogReader.committed`) states how far the consumer group has applied a partition. A committed
position is also a `PartitionProgress`, but is stored durably. A new reader starts at the committed position. After a
crash or a reassignment, reading therefore restarts exactly at the committed position. The committed position never
moves back. `LogReader.commit` stores only the position. The live stream does not call `LogReader.commit`, but
`Outbox.transaction`. A single transaction stores a position and the rows from the records before the position, so that
either both or nothing is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
        """Begin to append a record; the future returns the record's position only when the record is durable.

        Records keep their order within a partition. No record is dropped without an error.

        Raises:
            LogFull: the log has no room, and no part of the record was written. Either `append` or the future raises
                this error.
        """

    def flush(self, timeout_s: float) -> None:
        """Block until the futures of all appends so far are done.

        Raises:
            RetryError: some futures are not done after `timeout_s`.
        """

    def close(self) -> None:
        """Flush and release all resources. A second call changes nothing."""


class LogReader(Protocol):
    """Reads the partitions of a single topic that the consumer group assigns to this reader.

    A reader must be used by one thread only. The consumer group may reassign partitions at any time. After a
    reassignment, the next `poll` raises PartitionsMoved. After PartitionsMoved, `positions()` returns the committed
    positions of all partitions in the new assignment.
    """

    def poll(self, max_hits: int, timeout_s: float) -> list[LoggedRecord]:
        """Return the next records; within each partition, the records are in order.

        If no record arrives within `timeout_s`, the list is empty. Together, the records hold at most `max_hits` rows;
        a record with more rows is returned alone.

        Raises:
            PartitionsMoved: the assignment changed; all records that were read but not committed will be read again.
        """

    def heartbeat(self) -> None:
        """Tell the consumer group that this reader is alive.

        If two polls are minutes apart, the caller must call this method between the polls. The call is cheap, so
        callers may call it often.

        Raises:
            PartitionsMoved: the assignment changed, as in `poll`.
        """

    def before_moves(self, hand_over: Callable[[], None]) -> None:
        """Call `hand_over`, in `poll` or `heartbeat`, before this reader gives up partitions.

        No other reader gets the partitions before `hand_over` has returned. `hand_over` must not raise. If the group
        has removed this reader, `hand_over` is not called, because another reader may already have the partitions.
        """

    def positions(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return the read position in each assigned partition.

        For a new reader, and after PartitionsMoved, the read positions equal the committed positions.
        """

    def committed(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return the committed position in each assigned partition; (0, 0) if nothing was committed."""

    def commit(self, positions: Mapping[PartitionId, PartitionProgress]) -> None:
        """Commit positions durably. A position that is older than the committed position is ignored.

        Raises:
            PartitionsMoved: this reader has lost partitions; no position was committed.
        """

    def close(self) -> None:
        """Release all resources. A second call changes nothing."""
