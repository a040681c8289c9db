"""Which readers of this process are members of a group: their membership proves that a transaction may commit.

Decides that a process which had a reader of a topic never commits without one: Kafka takes positions from those who
claim no membership at all, so whoever lost its partitions must not be among them.
"""

from __future__ import annotations

import threading
from typing import Any

from confluent_kafka import Consumer

from hitmesh.model.errors import PartitionsMoved
from hitmesh.model.positions import Topic


class GroupMembers:
    """The open readers of one process, by topic and group. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._consumers: dict[tuple[Topic, str], Consumer | None] = {}

    def join(self, topic: Topic, group: str, consumer: Consumer) -> None:
        """Notes a reader; one of the same topic and group that was there before is none any more."""
        with self._lock:
            self._consumers[topic, group] = consumer

    def leave(self, topic: Topic, group: str, consumer: Consumer) -> None:
        """Notes that a reader is no member any more, if it is still the one that is known."""
        with self._lock:
            if self._consumers.get((topic, group)) is consumer:
                self._consumers[topic, group] = None

    def metadata(self, topic: Topic, group: str) -> Any | None:
        """Returns the membership of a reader, None where this process never had one.

        Raises:
            PartitionsMoved: the reader lost partitions or was closed.
        """
        with self._lock:
            if (topic, group) not in self._consumers:
                return None
            consumer = self._consumers[topic, group]
            if consumer is None:
                raise PartitionsMoved(f"this process reads {topic} no more; open a new reader", retry_after_s=0.1)
            return consumer.consumer_group_metadata()
