"""Plan the Kafka topics of a mesh: topics for the log and for Druid, with retention settings.

This module finds settings that differ from the wanted settings. The module decides which settings may be changed. The
number of hits partitions never changes, because a site's partition depends on this number (architecture A4). After the
module creates a topic for the log, the module declares a new log.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # exported without a declaration
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from hitmesh.adapters.cassandra.logs import DeclaredLogs
from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.adapters.kafka.connection import connection
from hitmesh.adapters.kafka.errors import error_of, unavailable
from hitmesh.adapters.kafka.log import MAX_VALUE_BYTES
from hitmesh.adapters.schema_plan import Action, Change, SchemaOptions
from hitmesh.adapters.servers import Servers
from hitmesh.model.errors import FatalError, RefusedError, Unavailable
from hitmesh.model.positions import Topic
from hitmesh.model.reasons import LocalReason
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.zones import DAY_MS

_SERVER: Final = "kafka"
_CALL_S: Final = 30.0
_PAUSE_S: Final = 0.1
_SEGMENTS_KEPT: Final = 12


@dataclass(frozen=True, slots=True)
class Wanted:
    """The required state of a Kafka topic. `topic` is set only for topics of the log."""

    name: str
    partitions: int
    config: Mapping[str, str]
    topic: Topic | None = None


@dataclass(frozen=True, slots=True)
class _There:
    topic_id: str
    partitions: int
    copies: int
    config: Mapping[str, str]


def plan(servers: Servers, options: SchemaOptions) -> list[Change]:
    """Return the existing, missing and differing topics, in the order in which changes must be applied.

    Raises:
        RetryError: Kafka does not answer.
        RefusedError: a topic has more partitions than requested, a log topic has another number of partitions, or a
            topic has another number of replicas.
    """
    admin = _admin(servers)
    try:
        return [_change(servers, options, wanted, _there(admin, wanted)) for wanted in wanted_topics(servers, options)]
    except KafkaException as error:
        raise unavailable(error, "planning of topics") from error


def wanted_topics(servers: Servers, options: SchemaOptions) -> list[Wanted]:
    """Return the Kafka topics that a mesh needs."""
    common = {"min.insync.replicas": str(options.min_insync), "cleanup.policy": "delete"}
    log = common | {
        "message.timestamp.type": "LogAppendTime",
        "compression.type": "zstd",
        "retention.ms": str(options.hits_retention_days * DAY_MS),
        "max.message.bytes": str(MAX_VALUE_BYTES + (1 << 20)),
    }
    rollups = common | {
        "compression.type": "lz4",
        "retention.ms": str(options.rollups_retention_days * DAY_MS),
        # Segments are small, because Kafka deletes only closed segments. A small mesh would need a week to fill a large
        # segment.
        "segment.ms": str(options.rollups_retention_days * DAY_MS // _SEGMENTS_KEPT),
        "max.message.bytes": str(8 << 20),
    }
    return [
        Wanted(servers.topic(Topic.HITS), options.hits_partitions, log, Topic.HITS),
        Wanted(servers.topic(Topic.REJECTED), 1, log, Topic.REJECTED),
        *(Wanted(servers.rollups(source), options.rollups_partitions, rollups) for source in RowSource),
    ]


def _there(admin: AdminClient, wanted: Wanted) -> _There | None:
    try:
        found = admin.describe_topics(TopicCollection([wanted.name]), request_timeout=_CALL_S)[wanted.name].result()
    except KafkaException as error:
        if error_of(error).code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return None
        raise
    resource = ConfigResource(ResourceType.TOPIC, wanted.name)
    config = admin.describe_configs([resource], request_timeout=_CALL_S)[resource].result()
    values = {name: config[name].value for name in wanted.config}
    copies = min(len(partition.replicas) for partition in found.partitions)
    return _There(str(found.topic_id), len(found.partitions), copies, values)


def _change(servers: Servers, options: SchemaOptions, wanted: Wanted, there: _There | None) -> Change:
    thing = f"topic {wanted.name}"
    if there is None:
        description = f"{wanted.partitions} partitions, {options.replication} replicas, " + _config_text(wanted.config)
        return Change(_SERVER, thing, Action.CREATE, description, partial(_create, servers, options, wanted))
    _refuse_impossible_change(options, wanted, there)
    differences = _differences(wanted, there)
    if wanted.topic is not None and not _is_declared(servers, wanted.topic, there):
        differences.append("the log is not declared: readers will begin at its first record")
    if not differences:
        description = f"{there.partitions} partitions, up to date"
        return Change(_SERVER, thing, Action.KEEP, description, partial(_declare, servers, wanted))
    return Change(_SERVER, thing, Action.CHANGE, "; ".join(differences), partial(_alter, servers, wanted, there))


def _differences(wanted: Wanted, there: _There) -> list[str]:
    changes = [
        f"{name} {there.config[name]} becomes {value}"
        for name, value in wanted.config.items()
        if there.config[name] != value
    ]
    if there.partitions != wanted.partitions:
        changes.append(
            f"{there.partitions} partitions become {wanted.partitions}; existing rows stay in their partitions"
        )
    return changes


def _refuse_impossible_change(options: SchemaOptions, wanted: Wanted, there: _There) -> None:
    if there.partitions > wanted.partitions or (wanted.topic is not None and there.partitions != wanted.partitions):
        raise RefusedError(
            f"topic {wanted.name} has {there.partitions} partitions, not {wanted.partitions}: a change would move "
            f"sites to other partitions; ask for {there.partitions}, or give the mesh another name",
            field="partitions",
            reason=LocalReason.INVALID_CONFIG,
        )
    if there.copies != options.replication:
        raise RefusedError(
            f"topic {wanted.name} has {there.copies} replicas, not {options.replication}: change the replicas "
            f"with kafka-reassign-partitions first, or ask for {there.copies}",
            field="replication",
            reason=LocalReason.INVALID_CONFIG,
        )


def _is_declared(servers: Servers, topic: Topic, there: _There) -> bool:
    session = CassandraSession(servers)
    try:
        logs = DeclaredLogs(session)
        return (logs.log_id(topic), logs.partitions(topic)) == (log_id_of(topic, there.topic_id), there.partitions)
    except FatalError:  # the log is not declared, or the keyspace does not exist yet
        return False
    finally:
        session.close()


def _create(servers: Servers, options: SchemaOptions, wanted: Wanted) -> None:
    topic = NewTopic(wanted.name, wanted.partitions, options.replication, config=dict(wanted.config))
    admin = _admin(servers)
    try:
        admin.create_topics([topic], operation_timeout=_CALL_S)[wanted.name].result()
    except KafkaException as error:
        if error_of(error).code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise unavailable(error, f"creation of {wanted.name}") from error
    _declare(servers, wanted)


def _alter(servers: Servers, wanted: Wanted, there: _There) -> None:
    admin = _admin(servers)
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in wanted.config.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, wanted.name, incremental_configs=entries)
    try:
        admin.incremental_alter_configs([resource], request_timeout=_CALL_S)[resource].result()
        if there.partitions < wanted.partitions:
            more = NewPartitions(wanted.name, wanted.partitions)
            admin.create_partitions([more], operation_timeout=_CALL_S)[wanted.name].result()
    except KafkaException as error:
        raise unavailable(error, f"change of {wanted.name}") from error
    _declare(servers, wanted)


def _declare(servers: Servers, wanted: Wanted) -> None:
    """Declare the log that a topic holds. A recreated topic has a new Kafka id and is therefore a new log."""
    if wanted.topic is None:
        return
    there = _known(servers, wanted)
    session = CassandraSession(servers)
    try:
        DeclaredLogs(session).declare(wanted.topic, log_id_of(wanted.topic, there.topic_id), there.partitions)
    finally:
        session.close()


def _known(servers: Servers, wanted: Wanted) -> _There:
    """Wait until Kafka returns the topic; return the topic's state.

    A new topic reaches all brokers only after a while.
    """
    deadline = time.monotonic() + _CALL_S
    while True:
        there = _there(_admin(servers), wanted)
        if there is not None:
            return there
        if time.monotonic() > deadline:
            raise Unavailable(
                f"Kafka does not know topic {wanted.name}, which was created {_CALL_S:.0f} s ago: run hitmesh init "
                "again",
                topic=wanted.name,
                timeout_s=_CALL_S,
            )
        time.sleep(_PAUSE_S)


def log_id_of(topic: Topic, topic_id: str) -> str:
    """Return a log's id: the topic's name and Kafka's topic id, in which "/" becomes "_" and "+" becomes "-"."""
    return f"{topic}.{topic_id.replace('/', '_').replace('+', '-')}"


def _config_text(config: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(config.items()))


def _admin(servers: Servers, *, log_level: int = 3) -> AdminClient:
    return AdminClient({**connection(servers), "log_level": log_level})
