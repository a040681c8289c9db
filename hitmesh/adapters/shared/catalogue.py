"""Protocols that adapters need from another store: declared logs, progress, writer numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from hitmesh.model.positions import PartitionId, PartitionProgress, Topic

# For a new store of a single machine.
DEFAULT_PARTITIONS: Final[Mapping[Topic, int]] = {Topic.HITS: 4, Topic.REJECTED: 1}


class Catalogue(Protocol):
    """The declared logs."""

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
        """Publish that everything before these positions is applied and committed."""


class Writers(Protocol):
    """Writer numbers, shared by all processes."""

    def next(self, owner: str) -> int:
        """Return a number greater than any before, and record this number as the owner's newest."""

    def newest(self, owner: str) -> int:
        """Return the owner's newest number; 0 without a number."""
