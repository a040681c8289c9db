"""Choose the Kafka topic and partition for each row and progress mark (step 6 of the journey, architecture §4).

All rows from a log partition go to the same partition of each topic. The progress mark follows the rows, so Druid reads
the rows before the mark. The module hitmesh.adapters.shared.druid_rows encodes the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl
from confluent_kafka.admin import AdminClient

from hitmesh.adapters.kafka.connection import connection
from hitmesh.adapters.kafka.transactions import Message, TransactionalProducer
from hitmesh.adapters.servers import Servers
from hitmesh.adapters.shared.druid_rows import encoded, encoded_mark
from hitmesh.model.errors import FatalError, Unavailable
from hitmesh.model.keys import hash64
from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.rows.rollup_rows import RowSource

_CALL_S = 10.0


class RollupTopics:
    """The topics that Druid reads. The topics' partition count is read from Kafka once."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._partitions = 0

    def messages(self, number: int, rows: Mapping[RowSource, pl.DataFrame]) -> list[Message]:
        """Return rows as messages; the partition in each topic is `number` modulo the topic's partition count."""
        partition = number % self._count()
        return [
            Message(self._servers.rollups(source), partition, value)
            for source, source_rows in rows.items()
            if source_rows.height
            for value in encoded(source_rows, source)
        ]

    def marks(self, partition: PartitionId, done: PartitionProgress) -> list[Message]:
        """Return the progress mark of a log partition, as one message for each topic."""
        number, value = partition.partition % self._count(), encoded_mark(partition, done)
        return [Message(self._servers.rollups(source), number, value) for source in RowSource]

    def _count(self) -> int:
        if not self._partitions:
            topic = self._servers.rollups(RowSource.TRAFFIC)
            found = AdminClient(connection(self._servers)).list_topics(topic, _CALL_S)
            if found.topics[topic].error is not None:
                raise FatalError(f"Kafka has no topic {topic}: run hitmesh init", topic=topic)
            self._partitions = len(found.topics[topic].partitions)
        if not self._partitions:
            raise Unavailable("Kafka did not return the partition count of the rollup topics; try again")
        return self._partitions


class RollupProducer:
    """Sends settled rows to the topics that Druid reads, in one transaction per call.

    Args:
        servers: addresses of Kafka and topic names.
        transactional_id: the transactional id in Kafka; a later producer with the same id fences this producer.
    """

    def __init__(self, servers: Servers, transactional_id: str) -> None:
        self._topics = RollupTopics(servers)
        self._producer = TransactionalProducer(servers, transactional_id)

    def send(self, rows: Sequence[tuple[str, Mapping[RowSource, pl.DataFrame]]]) -> None:
        """Send rows for several sites, all or nothing; a site's rows go to a single partition.

        Raises:
            RetryError: nothing was written, or the outcome is unknown.
        """
        if self._producer.is_outdated:
            self._producer.discard()  # `send` makes a producer with the new certificate
        self._producer.send(
            [message for site, site_rows in rows for message in self._topics.messages(hash64(site), site_rows)]
        )

    def close(self) -> None:
        """Close the producer. A second call changes nothing."""
        self._producer.discard()
