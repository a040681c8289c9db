"""Make the stores of a stream on Kafka, Cassandra and Druid.

Rows and partials have the stream's generation. A stream's flushed positions and snapshots are stored under a log name
that contains the stream's number (`log_of_stream`). A shadow stream runs beside the processor's stream and has a
separate consumer group. A shadow stream's positions and progress marks are also stored under a log name with the
stream's number.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from hitmesh.adapters.cassandra.logs import DeclaredLogs
from hitmesh.adapters.cassandra.progress import CassandraProgress
from hitmesh.adapters.cassandra.series import CassandraSeriesStore
from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.adapters.cassandra.states import CassandraStateStore
from hitmesh.adapters.cassandra.writers import Writers
from hitmesh.adapters.druid.client import DruidClient
from hitmesh.adapters.druid.marks import IDLE_S, Marks
from hitmesh.adapters.druid.metrics import DruidMetricStore
from hitmesh.adapters.kafka.log_reader import KafkaLogReader
from hitmesh.adapters.kafka.members import GroupMembers
from hitmesh.adapters.kafka.outbox import KafkaOutbox
from hitmesh.adapters.servers import Servers
from hitmesh.adapters.shared.catalogue import shadow_group
from hitmesh.model.positions import Topic
from hitmesh.ports import StreamStore

BEGINNING: Final = "~begin"
"""The name with which a process commits a stream's first positions; no node has this name."""


class OneStreamOnServers:
    """Implements the port OneStream. Repeated calls for a stream return the same stores.

    Args:
        servers: addresses of the servers.
        session: the connection to Cassandra.
        client: the Druid client.
        catalogue: the declared logs.
        metrics: the metric store, which tracks the processor's progress marks.
        group: the processor's consumer group.
        node: name of this instance.
    """

    def __init__(
        self,
        servers: Servers,
        session: CassandraSession,
        client: DruidClient,
        catalogue: DeclaredLogs,
        metrics: DruidMetricStore,
        group: str,
        node: str,
    ) -> None:
        self._servers = servers
        self._session = session
        self._client = client
        self._catalogue = catalogue
        self._metrics = metrics
        self._group = group
        self._node = node
        self._members = GroupMembers()
        self._lock = threading.Lock()
        self._made: dict[tuple[int, bool], StreamStore] = {}
        self._closed: list[Callable[[], None]] = []

    def __call__(self, generation: int, *, is_shadow: bool) -> StreamStore:
        """Return the stores for the stream with this generation."""
        with self._lock:
            if (generation, is_shadow) not in self._made:
                self._made[generation, is_shadow] = self._make(generation, is_shadow=is_shadow)
            return self._made[generation, is_shadow]

    def close(self) -> None:
        """Close all connections. Idempotent."""
        with self._lock:
            closed, self._closed = self._closed, []
        for close in closed:
            close()

    def _make(self, generation: int, *, is_shadow: bool) -> StreamStore:
        servers, session, catalogue = self._servers, self._session, self._catalogue
        group = shadow_group(generation) if is_shadow else self._group
        shadow = generation if is_shadow else 0
        series, states = CassandraSeriesStore(session, generation), CassandraStateStore(session, generation)
        progress = CassandraProgress(session, catalogue, shadow)
        outbox, beginning = (
            KafkaOutbox(
                servers,
                catalogue,
                group,
                writer,
                self._members,
                progress,
                Writers(session),
                stream=generation,
                shadow=shadow,
            )
            for writer in (self._node, BEGINNING)
        )
        self._closed += [outbox.close, beginning.close]
        ingested = self._metrics.ingested_through
        if shadow:
            marks = Marks(servers, self._client, catalogue, shadow, idle_s=IDLE_S)
            self._closed.append(marks.close)
            ingested = marks.through

        def forget() -> None:
            states.forget([partition for topic in Topic for partition in catalogue.partition_ids(topic)])
            series.forget()

        return StreamStore(
            log_reader=lambda topic: KafkaLogReader(servers, catalogue, topic, group, self._node, self._members),
            outbox=outbox,
            beginning=beginning,
            series=series,
            states=states,
            progress=progress,
            ingested_through=ingested,
            forget_positions=CassandraProgress(session, catalogue, generation).forget,
            forget=forget,
        )
