"""What the Kafka adapters have to know of logs: which topic is which log, with how many partitions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from hitmesh.model.positions import PartitionId, PartitionProgress, Topic


class Catalogue(Protocol):
    """The declared logs."""

    def log_id(self, topic: Topic) -> str:
        """Returns which log a topic is now."""

    def partitions(self, topic: Topic) -> int:
        """Returns how many partitions the topic's current log has."""

    def partition_ids(self, topic: Topic) -> Sequence[PartitionId]:
        """Returns the partitions of the topic's current log."""

    def topic_of(self, log_id: str) -> Topic:
        """Returns the topic of a log, of a retired one too; raises ValueError for a log that is none."""


class Progress(Protocol):
    """Where reports look how far the log was applied."""

    def publish(self, positions: Mapping[PartitionId, PartitionProgress]) -> None:
        """Says that all before these positions is applied and committed."""


class Writers(Protocol):
    """Numbers of writers, for all processes."""

    def next(self, owner: str) -> int:
        """Returns a number greater than any before, and notes it as the owner's newest."""

    def newest(self, owner: str) -> int:
        """Returns the number that an owner was given last; 0 for none."""
