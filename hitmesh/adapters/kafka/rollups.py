"""Step 6 of the journey towards Druid: which rows and marks go to which partition of which topic (architecture §4).

Decides that all rows of a partition of the log go to one partition of each topic, and its mark behind them: whoever has
read the mark has read the rows. Refuses to know how a row is written: hitmesh.adapters.druid.rows does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl
from confluent_kafka.admin import AdminClient

from hitmesh.adapters.druid.rows import encoded, encoded_mark
from hitmesh.adapters.kafka.transactions import Message, TransactionalProducer
from hitmesh.adapters.servers import Servers
from hitmesh.model.errors import FatalError, Unavailable
from hitmesh.model.keys import hash64
from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.rows.rollup_rows import RowSource

_CALL_S = 10.0


class RollupTopics:
    """The topics that Druid reads. Asks Kafka once how many partitions they have."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._partitions = 0

    def messages(self, number: int, rows: Mapping[RowSource, pl.DataFrame]) -> list[Message]:
        """Returns rows as messages of the partition that `number` falls into."""
        partition = number % self._count()
        return [
            Message(self._servers.rollups(source), partition, value)
            for source, own in rows.items()
            if own.height
            for value in encoded(own, source)
        ]

    def marks(self, partition: PartitionId, done: PartitionProgress) -> list[Message]:
        """Returns the mark of a partition of the log, for each topic."""
        number, value = partition.partition % self._count(), encoded_mark(partition, done)
        return [Message(self._servers.rollups(source), number, value) for source in RowSource]

    def _count(self) -> int:
        if not self._partitions:
            topic = self._servers.rollups(RowSource.TRAFFIC)
            found = AdminClient({"bootstrap.servers": self._servers.kafka, "log_level": 3}).list_topics(topic, _CALL_S)
            if found.topics[topic].error is not None:
                raise FatalError(f"Kafka has no topic {topic}: run hitmesh init")
            self._partitions = len(found.topics[topic].partitions)
        if not self._partitions:
            raise Unavailable("Kafka does not say how many partitions the rollups have")
        return self._partitions


class RollupProducer:
    """Sends settled rows, each call one transaction.

    Args:
        servers: where Kafka is.
        transactional_id: who writes.
    """

    def __init__(self, servers: Servers, transactional_id: str) -> None:
        self._topics = RollupTopics(servers)
        self._producer = TransactionalProducer(servers, transactional_id)

    def send(self, rows: Sequence[tuple[str, Mapping[RowSource, pl.DataFrame]]]) -> None:
        """Sends the rows of some sites, all or nothing; those of a site go to one partition.

        Raises:
            RetryError: nothing was written, or it is not known.
        """
        self._producer.send([one for site, own in rows for one in self._topics.messages(hash64(site), own)])

    def close(self) -> None:
        """Lets go. A second call changes nothing."""
        self._producer.discard()
