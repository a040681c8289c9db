"""Protocols through which an adapter uses data in another store: declared logs, progress and writer numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from hitmesh.model.positions import PartitionId, PartitionProgress, Topic

# The number of partitions per topic in a new store on a single machine.
DEFAULT_PARTITIONS: Final[Mapping[Topic, int]] = {Topic.HITS: 4, Topic.REJECTED: 1}


class Catalogue(Protocol):
    """The declared logs. Each topic has one current log and may have retired logs."""

    def log_id(self, topic: Topic) -> str:
        """Return the id of the topic's current log."""

    def partitions(self, topic: Topic) -> int:
        """Return the number of partitions in the topic's current log."""

    def partition_ids(self, topic: Topic) -> Sequence[PartitionId]:
        """Return the partitions of the topic's current log."""

    def topic_of(self, log_id: str) -> Topic:
        """Return the topic of a current or retired log; raise ValueError for an unknown log."""


class Progress(Protocol):
    """Stores, for reports, how much of each log partition the processor has processed."""

    def publish(self, positions: Mapping[PartitionId, PartitionProgress]) -> None:
        """Publish that all records before these positions are applied and committed."""


class Writers(Protocol):
    """Issues writer numbers, which are unique over all processes."""

    def next(self, owner: str) -> int:
        """Return a writer number that is greater than every earlier number.

        The number becomes the owner's newest writer number.
        """

    def newest(self, owner: str) -> int:
        """Return the owner's newest writer number; 0 if the owner never had a number."""


def shadow_group(stream: int) -> str:
    """Return the consumer group of a shadow stream with this generation.

    Example:
        >>> shadow_group(-1)
        'shadow-1'
    """
    return f"shadow-{-stream}"


def log_of_stream(log: str, stream: int) -> str:
    """Return the name under which a stream's positions and snapshots for a log are stored.

    Example:
        >>> log_of_stream("hits-1", 0), log_of_stream("hits-1", -2)
        ('hits-1', 'hits-1~2')
    """
    return log if stream == 0 else f"{log}~{-stream}"
