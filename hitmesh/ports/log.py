"""The port to the log: topics, records, positions, progress."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Protocol

from hitmesh.model.positions import LoggedPosition, PartitionId, PartitionProgress, Topic
from hitmesh.model.records import LoggedRecord, Record


class EventLog(Protocol):
    """Takes records. Thread-safe."""

    def partitions(self, topic: Topic) -> int:
        """Returns how many partitions the topic has."""

    def log_id(self, topic: Topic) -> str:
        """Returns which log the topic is now."""

    def append(self, topic: Topic, partition: int, record: Record) -> Future[LoggedPosition]:
        """Starts to append; the future resolves only when the record is durable.

        Order is kept per partition. Nothing is silently dropped.

        Raises:
            LogFull: at once or through the future; nothing of the record was written.
        """

    def flush(self, timeout_s: float) -> None:
        """Waits until every append so far is resolved.

        Raises:
            RetryError: that took longer than `timeout_s`.
        """

    def close(self) -> None:
        """Flushes and lets go. A second call changes nothing."""


class LogReader(Protocol):
    """Reads the partitions of one topic that its group gave to this reader. Confined to one thread.

    Where readers of a group share partitions, what this one has may change: `poll` then raises PartitionsMoved, and
    `positions` says what it has now, which begins where it was committed.
    """

    def poll(self, max_hits: int, timeout_s: float) -> list[LoggedRecord]:
        """Returns the next records, in order per partition; empty when none came within `timeout_s`.

        At most `max_hits` rows together, but at least one record.

        Raises:
            PartitionsMoved: this reader lost or got partitions; all that was read and not committed will be read again.
        """

    def stay(self) -> None:
        """Says that this reader lives, where `poll` is not called for minutes; called often, it costs nothing.

        Raises:
            PartitionsMoved: as `poll`.
        """

    def positions(self) -> Mapping[PartitionId, PartitionProgress]:
        """Returns the next record to read of each of its partitions: what poll handed out lies before it.

        Of a new reader, and of one whose partitions moved, that is what was committed.
        """

    def committed(self) -> Mapping[PartitionId, PartitionProgress]:
        """Returns what was committed last; partitions without a commit start at offset 0, log time 0."""

    def commit(self, positions: Mapping[PartitionId, PartitionProgress]) -> None:
        """Saves positions durably. A commit never moves back: an older position is ignored.

        Raises:
            PartitionsMoved: this reader has lost partitions; nothing was saved.
        """

    def close(self) -> None:
        """Lets go. A second call changes nothing."""
