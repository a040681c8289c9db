"""Compute the time until which Kafka may hold the bytes of erased hits; records in a topic cannot be changed."""

from __future__ import annotations

from typing import Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType  # type: ignore[attr-defined]  # exported without a declaration

from hitmesh.adapters.kafka.connection import connection
from hitmesh.adapters.kafka.errors import unavailable
from hitmesh.adapters.servers import Servers
from hitmesh.model.errors import Unavailable
from hitmesh.model.positions import Position, Topic
from hitmesh.model.records import LoggedRecord

_CALL_S: Final = 30.0
_FOREVER_MS: Final = 253_402_300_799_000
"""The end of the year 9999, which is the result for a topic without a time limit."""


class KafkaLogEraser:
    """Implements the port LogEraser on Kafka.

    Kafka deletes a closed segment when the segment's newest record is older than `retention.ms`. A segment is closed
    after `segment.ms` at the latest. Kafka looks for old segments every `log.retention.check.interval.ms` (5 min by
    default).
    """

    def __init__(self, servers: Servers) -> None:
        self._servers = servers

    def record(self, position: Position) -> LoggedRecord | None:
        """Return None, because Kafka cannot change any record."""
        return None

    def replace(self, logged: LoggedRecord, seen: bytes | None = None) -> bool:
        """Return False, because Kafka cannot change any record."""
        return False

    def overwrite(self) -> None:
        """Do nothing. Cassandra's compaction removes replaced bytes, and Kafka's retention removes old records."""

    def kept_until(self, log_time: int) -> int:
        """Return the time until which the hits topic may hold a record, according to the topic's settings.

        Raises:
            Unavailable: Kafka does not answer.
        """
        config = self._config()
        retention, roll, delay = (
            config.get(name, -1) for name in ("retention.ms", "segment.ms", "file.delete.delay.ms")
        )
        return _FOREVER_MS if retention < 0 else log_time + retention + max(roll, 0) + max(delay, 0)

    def _config(self) -> dict[str, int]:
        name = self._servers.topic(Topic.HITS)
        resource = ConfigResource(ResourceType.TOPIC, name)
        try:
            admin = AdminClient(connection(self._servers))
            entries = admin.describe_configs([resource], request_timeout=_CALL_S)[resource].result(_CALL_S)
        except KafkaException as error:
            raise unavailable(error, f"settings of topic {name}") from error
        except TimeoutError as error:
            raise Unavailable(f"Kafka does not return the settings of topic {name}; try again", topic=name) from error
        return {key: int(entry.value) for key, entry in entries.items() if _is_number(entry.value)}


def _is_number(text: object) -> bool:
    return isinstance(text, str) and text.lstrip("-").isdecimal()
