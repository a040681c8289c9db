"""Facts about the Kafka topics of a mesh: partitions, replicas, leaders and settings. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # exported without a declaration
    AdminClient,
    ConfigResource,
    ResourceType,
)

from hitmesh.adapters.kafka import schema
from hitmesh.adapters.kafka.errors import error_of, unavailable
from hitmesh.adapters.kafka.schema import Wanted, log_id_of, wanted_topics
from hitmesh.adapters.schema_plan import SchemaOptions
from hitmesh.adapters.servers import Servers
from hitmesh.model.positions import Topic
from hitmesh.model.server_facts import KafkaTopic

# The client's own error, which names the broker, comes before the time-out of the future.
_MARGIN_S: Final = 1.0
Declared = Mapping[Topic, tuple[str, int]]


def kafka_topics(
    servers: Servers, options: SchemaOptions, declared: Declared | None, timeout_s: float
) -> list[KafkaTopic]:
    """Return the facts about each topic that the mesh needs.

    Args:
        servers: addresses and names.
        options: the sizes for the wanted settings.
        declared: id and number of partitions of each topic's declared log; None if unknown.
        timeout_s: time limit of each request.

    Raises:
        Unavailable: Kafka does not answer.
    """
    # Without a broker, the client would log each of its attempts to connect.
    admin = schema._admin(servers, log_level=0)
    try:
        return [_topic(admin, wanted, declared, timeout_s) for wanted in wanted_topics(servers, options)]
    except KafkaException as error:
        raise unavailable(error, "description of topics") from error


def _topic(admin: AdminClient, wanted: Wanted, declared: Declared | None, timeout_s: float) -> KafkaTopic:
    try:
        answers = admin.describe_topics(TopicCollection([wanted.name]), request_timeout=timeout_s)
        found = answers[wanted.name].result(timeout_s + _MARGIN_S)
    except KafkaException as error:
        if error_of(error).code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return KafkaTopic(wanted.name, exists=False)
        raise
    resource = ConfigResource(ResourceType.TOPIC, wanted.name)
    config = admin.describe_configs([resource], request_timeout=timeout_s)[resource].result(timeout_s + _MARGIN_S)
    log_id, partitions = (declared or {}).get(wanted.topic, ("", None)) if wanted.topic is not None else ("", None)
    is_log = wanted.topic is not None
    is_declared = wanted.topic is None or log_id == log_id_of(wanted.topic, str(found.topic_id))
    leaderless = [partition.id for partition in found.partitions if partition.leader is None or partition.leader.id < 0]
    return KafkaTopic(
        name=wanted.name,
        exists=True,
        partitions=len(found.partitions),
        replicas=min(len(partition.replicas) for partition in found.partitions),
        in_sync=min(len(partition.isr) for partition in found.partitions),
        leaderless=leaderless,
        config={name: str(config[name].value) for name in wanted.config},
        wanted=wanted.config,
        wanted_partitions=wanted.partitions,
        is_log=is_log,
        declared=partitions if is_declared else None,
        is_undeclared=declared is not None and not is_declared,
    )
