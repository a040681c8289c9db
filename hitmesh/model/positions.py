"""Locations in the log: topics, partitions, positions, and the progress of a reader or consumer group."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Topic(StrEnum):
    """The topics of the log."""

    HITS = "hits"
    REJECTED = "rejected"


class PartitionId(NamedTuple):
    """A partition of a log. A recreated topic is a new log with a new id (architecture A4)."""

    log: str
    partition: int


class Position(NamedTuple):
    """A record's location. In a partition, positions and records have the same order."""

    log: str
    partition: int
    offset: int


class LoggedPosition(NamedTuple):
    """An appended record's location, and its log time in UTC ms (rule L1)."""

    position: Position
    log_time: int


@dataclass(frozen=True, slots=True)
class PartitionProgress:
    """Progress in a partition: the next offset to read, and the log time of the last record before that offset."""

    next_offset: int
    log_time: int
