"""Probes Kafka whether the log of hits takes records: whether each partition of the topic has a leader."""

from __future__ import annotations

from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from hitmesh.adapters.kafka.connection import CertificateWatch, connection
from hitmesh.adapters.kafka.errors import RETRY_S, unavailable
from hitmesh.adapters.servers import Servers
from hitmesh.model.errors import Unavailable
from hitmesh.model.positions import Topic

ANSWER_S: Final = 2.0


class KafkaProbe:
    """Probes for the metadata of the topic of hits. An instance must be used by one thread only.

    Args:
        servers: addresses of Kafka and topic names.
        answer_s: seconds to wait for the answer.
    """

    def __init__(self, servers: Servers, answer_s: float = ANSWER_S) -> None:
        self._servers = servers
        self._answer_s = answer_s
        self._certificates = CertificateWatch(servers)
        self._client: AdminClient | None = None

    def __call__(self) -> None:
        """Return when Kafka has answered.

        Raises:
            Unavailable: Kafka does not answer in time, or a partition has no leader.
        """
        topic = self._servers.topic(Topic.HITS)
        if self._client is None or self._certificates.has_changed():
            self._certificates.note()
            self._client = AdminClient({**connection(self._servers), "log_level": 0})
        try:
            found = self._client.list_topics(topic, timeout=self._answer_s).topics[topic]
        except KafkaException as error:
            raise unavailable(error, f"check of {topic}") from error
        if found.error is not None or not found.partitions:
            raise Unavailable(
                f"topic {topic} cannot be used ({found.error}): create it with `hitmesh init`",
                retry_after_s=RETRY_S,
                topic=topic,
                cause=str(found.error),
            )
        without = sorted(number for number, partition in found.partitions.items() if partition.leader < 0)
        if without:
            raise Unavailable(
                f"partitions {without} of {topic} have no leader: check that all brokers run",
                retry_after_s=RETRY_S,
                topic=topic,
                partition=str(without),
            )
