"""The port to the log: topics, records, positions, progress."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import NamedTuple, Protocol


class Topic(StrEnum):
    """The topics of the log."""

    HITS = "hits"
    REJECTED = "rejected"


class RecordKind(IntEnum):
    """What a record holds; the numbers of hitmesh.log.v1.RecordKind."""

    HITS = 1
    REJECTED = 2
    HEARTBEAT = 3
    END = 4


class PartitionId(NamedTuple):
    """A partition of a log. A topic made anew is a new log (decision A4)."""

    log: str
    partition: int


class Position(NamedTuple):
    """Where a record is. Order of positions in one partition is the order of the log."""

    log: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Record:
    """A record to append: `value` as hitmesh.columns packs it; the rest is the header (log.v1.RecordHeader).

    `hits` is how many hits the record announces and `sum64`, `xor64` are Σ mod 2⁶⁴ and ⊕ of their hash64 (rule D5);
    `hits` is None where a writer announced nothing.
    """

    kind: RecordKind
    value: bytes = b""
    rows: int = 0
    min_event_time: int = 0
    max_event_time: int = 0
    max_collect_time: int = 0
    schema_version: int = 1
    collector: str = ""
    classifier_version: str = ""
    hits: int | None = None
    sum64: int = 0
    xor64: int = 0


@dataclass(frozen=True, slots=True)
class LoggedRecord:
    """A record that is in the log. `log_time` never decreases within a partition (rule L1)."""

    position: Position
    log_time: int
    record: Record


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


class LoggedPosition(NamedTuple):
    """Where a record went, and when the log took it."""

    position: Position
    log_time: int


@dataclass(frozen=True, slots=True)
class PartitionProgress:
    """How far a reader got: the next offset to read, and the log time up to which everything is applied."""

    next_offset: int
    log_time: int


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
