"""Keep the consumer group memberships of this process's readers. A transaction needs a membership to commit positions.

A process that once had a reader for a topic must not commit positions without a membership. Without a membership, Kafka
would accept the positions even if another process now owns the partitions.
"""

from __future__ import annotations

import threading
from typing import Any

from confluent_kafka import Consumer

from hitmesh.model.errors import PartitionsMoved
from hitmesh.model.positions import Topic


class GroupMembers:
    """Holds the memberships of this process's open readers, by topic and consumer group. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._consumers: dict[tuple[Topic, str], Consumer | None] = {}

    def join(self, topic: Topic, group: str, consumer: Consumer) -> None:
        """Register a reader in place of any earlier reader of the same topic and group."""
        with self._lock:
            self._consumers[topic, group] = consumer

    def leave(self, topic: Topic, group: str, consumer: Consumer) -> None:
        """Withdraw a reader's membership if this reader is still the registered reader."""
        with self._lock:
            if self._consumers.get((topic, group)) is consumer:
                self._consumers[topic, group] = None

    def metadata(self, topic: Topic, group: str) -> Any | None:
        """Return the open reader's membership; None if this process never had a reader of the topic and group.

        Raises:
            PartitionsMoved: the reader lost partitions or was closed.
        """
        with self._lock:
            if (topic, group) not in self._consumers:
                return None
            consumer = self._consumers[topic, group]
            if consumer is None:
                raise PartitionsMoved(
                    f"this process's reader of {topic} is closed; open a new reader", retry_after_s=0.1
                )
            return consumer.consumer_group_metadata()
