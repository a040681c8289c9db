"""Protocols that adapters need from another store: declared logs, progress, writer numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from hitmesh.model.positions import PartitionId, PartitionProgress, Topic

# Partitions per topic of a new store on a single machine.
DEFAULT_PARTITIONS: Final[Mapping[Topic, int]] = {Topic.HITS: 4, Topic.REJECTED: 1}


class Catalogue(Protocol):
    """The declared logs: each topic has one current log, and may have retired logs."""

    def log_id(self, topic: Topic) -> str:
        """Return the id of a topic's current log."""

    def partitions(self, topic: Topic) -> int:
        """Return the number of partitions in the topic's current log."""

    def partition_ids(self, topic: Topic) -> Sequence[PartitionId]:
        """Return the partitions of the topic's current log."""

    def topic_of(self, log_id: str) -> Topic:
        """Return the topic of a current or retired log; raise ValueError for an unknown log."""


class Progress(Protocol):
    """The applied progress that reports read."""

    def publish(self, positions: Mapping[PartitionId, PartitionProgress]) -> None:
        """Publish that all records before these positions are applied and committed."""


class Writers(Protocol):
    """Writer numbers, shared by all processes."""

    def next(self, owner: str) -> int:
        """Return a writer number greater than every earlier one, and record the number as the owner's newest."""

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
    """Return the name of a log among the stored positions and snapshots of a stream with this generation.

    Example:
        >>> log_of_stream("hits-1", 0), log_of_stream("hits-1", -2)
        ('hits-1', 'hits-1~2')
    """
    return log if stream == 0 else f"{log}~{-stream}"
