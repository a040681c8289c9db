"""Read and store the declared logs in log.db: the log id and the partition count of each topic."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hitmesh.adapters.embedded.sqlite import Database
from hitmesh.adapters.shared.catalogue import DEFAULT_PARTITIONS
from hitmesh.model.errors import Unavailable
from hitmesh.model.positions import PartitionId, Topic


class Declaration(NamedTuple):
    """The log id and the partition count that are declared for a topic."""

    log: str
    partitions: int


class LogCatalogue:
    """Returns the log of each topic. A topic's log is declared when the topic is first used. Thread-safe.

    Args:
        database: log.db.
        partitions: number of partitions for a new topic; ignored for existing topics.
    """

    def __init__(self, database: Database, partitions: Mapping[Topic, int] = DEFAULT_PARTITIONS) -> None:
        self._database = database
        self._partitions = partitions
        self._known: dict[Topic, Declaration] = {}

    def of(self, topic: Topic) -> Declaration:
        """Return the topic's declaration; create the declaration if the store has none."""
        if topic not in self._known:
            found = self._stored(topic)
            if found is None:
                self._declare(topic)
                found = self._stored(topic)
            if found is None:
                raise Unavailable(f"log.db did not store the declaration of topic {topic}; try again", topic=topic)
            self._known[topic] = found
        return self._known[topic]

    def partition_ids(self, topic: Topic) -> Sequence[PartitionId]:
        """Return every declared partition of the topic."""
        declared = self.of(topic)
        return [PartitionId(declared.log, number) for number in range(declared.partitions)]

    def topic_of(self, log: str) -> Topic:
        """Return the topic to which a log belongs.

        Raises:
            ValueError: the log does not belong to this store.
        """
        for topic in Topic:
            if log == self.of(topic).log:
                return topic
        raise ValueError(f"log {log} does not belong to this store")

    def _stored(self, topic: Topic) -> Declaration | None:
        with self._database.reading() as transaction:
            return transaction.first(Declaration, "SELECT log_id, partitions FROM logs WHERE topic = ?", (topic,))

    def _declare(self, topic: Topic) -> None:
        count = self._partitions[topic]
        with self._database.writing() as transaction:
            log = f"{topic}.{secrets.token_hex(8)}"
            if transaction.run("INSERT OR IGNORE INTO logs VALUES (?, ?, ?)", (topic, log, count)):
                transaction.run_many(
                    "INSERT INTO ends VALUES (?, ?, 0, 0)", [(topic, number) for number in range(count)]
                )
