"""Places in the log: topics, partitions, positions, and how far a group has read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Topic(StrEnum):
    """The topics of the log."""

    HITS = "hits"
    REJECTED = "rejected"


class PartitionId(NamedTuple):
    """A partition of a log. A topic made anew is a new log (decision A4)."""

    log: str
    partition: int


class Position(NamedTuple):
    """Where a record is. Order of positions in one partition is the order of the log."""

    log: str
    partition: int
    offset: int


class LoggedPosition(NamedTuple):
    """Where a record went, and when the log took it."""

    position: Position
    log_time: int


@dataclass(frozen=True, slots=True)
class PartitionProgress:
    """How far a reader got: the next offset to read, and the log time up to which everything is applied."""

    next_offset: int
    log_time: int
