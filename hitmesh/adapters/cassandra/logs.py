"""Keep the registry of all logs that `hitmesh init` declared, current and retired (architecture A4).

A topic's current log is the log that was declared last. Code that waits for all partitions must use the declared
partitions (rule L1), not the partitions that Kafka reports.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Final

from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.model.errors import FatalError, Unavailable
from hitmesh.model.positions import PartitionId, Topic

_MAX_TRIES: Final = 8


@dataclass(frozen=True, slots=True)
class _Declared:
    topic: Topic
    number: int
    log_id: str
    partitions: int


class DeclaredLogs:
    """The mesh's logs.

    Thread-safe. The registry is read at first use. If a caller asks for an unknown log, the registry is read again.
    """

    def __init__(self, session: CassandraSession) -> None:
        self._session = session
        self._lock = threading.Lock()
        self._current: dict[Topic, _Declared] = {}
        self._topics: dict[str, Topic] = {}

    def log_id(self, topic: Topic) -> str:
        """Return the id of a topic's current log.

        Raises:
            FatalError: no log was declared for this topic.
        """
        return self._of(topic).log_id

    def partitions(self, topic: Topic) -> int:
        """Return the number of partitions in the topic's current log.

        Raises:
            FatalError: no log was declared for this topic.
        """
        return self._of(topic).partitions

    def partition_ids(self, topic: Topic) -> list[PartitionId]:
        """Return the partitions of the topic's current log.

        Raises:
            FatalError: no log was declared for this topic.
        """
        declared = self._of(topic)
        return [PartitionId(declared.log_id, number) for number in range(declared.partitions)]

    def topic_of(self, log_id: str) -> Topic:
        """Return the topic of a current or retired log.

        Raises:
            ValueError: no such log was declared.
        """
        if log_id not in self._topics:
            self._read()
        if log_id not in self._topics:
            raise ValueError(
                f"log {log_id!r} was never declared; the declared logs are {', '.join(sorted(self._topics))}"
            )
        return self._topics[log_id]

    def declare(self, topic: Topic, log_id: str, partitions: int) -> None:
        """Declare a log, which becomes the topic's current log. Idempotent."""
        for _ in range(_MAX_TRIES):
            self._read()
            now = self._current.get(topic)
            if now is not None and (now.log_id, now.partitions) == (log_id, partitions):
                return
            number = now.number + 1 if now is not None else 1
            self._session.apply(
                "INSERT INTO logs (topic, number, log_id, partitions) VALUES (?, ?, ?, ?) IF NOT EXISTS",
                (topic.value, number, log_id, partitions),
            )
        raise Unavailable(
            f"log {log_id!r} of topic {topic.value} was not declared, because other processes declared logs at the "
            "same time: run hitmesh init again",
            log=log_id,
            topic=topic.value,
        )

    def _of(self, topic: Topic) -> _Declared:
        if topic not in self._current:
            self._read()
        if topic not in self._current:
            raise FatalError(f"no log of topic {topic.value} is declared; run hitmesh init", topic=topic.value)
        return self._current[topic]

    def _read(self) -> None:
        found = [
            _Declared(topic, row.number, row.log_id, row.partitions)
            for topic in Topic
            for row in self._session.run(
                "SELECT number, log_id, partitions FROM logs WHERE topic = ?", (topic.value,), serial=True
            )
        ]
        with self._lock:
            # The logs are in ascending order of their numbers. Of each topic's logs, the log that was declared last
            # therefore becomes the current log.
            for declared in sorted(found, key=lambda declared: declared.number):
                self._topics[declared.log_id] = declared.topic
                self._current[declared.topic] = declared
