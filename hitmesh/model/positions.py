"""Places in the log: topics, partitions, positions, and a group's reading progress."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Topic(StrEnum):
    """The topics of the log."""

    HITS = "hits"
    REJECTED = "rejected"


class PartitionId(NamedTuple):
    """A partition of a log. A recreated topic is a new log (decision A4)."""

    log: str
    partition: int


class Position(NamedTuple):
    """A record's location. Positions in one partition order like the log."""

    log: str
    partition: int
    offset: int


class LoggedPosition(NamedTuple):
    """An appended record's location, and the time at which the log took the record."""

    position: Position
    log_time: int


@dataclass(frozen=True, slots=True)
class PartitionProgress:
    """A reader's progress: the next offset to read, and the log time up to which everything is applied."""

    next_offset: int
    log_time: int
