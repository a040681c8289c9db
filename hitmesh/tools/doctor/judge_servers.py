"""Decides which facts about Kafka, Cassandra and Druid are findings. Pure.

Knows nothing of how facts are gathered. Sizes that are certain must be equal; for all other sizes, only values that are
wrong for every mesh are findings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from hitmesh.model.plurals import counted
from hitmesh.model.server_facts import CassandraKeyspace, DruidSource, Expected, KafkaTopic
from hitmesh.model.zones import DAY_MS
from hitmesh.tools.doctor import server_kinds as kinds
from hitmesh.tools.doctor.findings import Finding, Verdict
from hitmesh.tools.doctor.limits import Limits

_RETENTION: Final = "retention.ms"
_IN_SYNC: Final = "min.insync.replicas"
# Settings with the same value in every mesh, on which exactness depends. Other settings only affect size and speed.
_FIXED: Final = ("message.timestamp.type", "cleanup.policy")
_SIZE_OF: Final = {
    True: ("hits_partitions", "hits_retention_days"),
    False: ("rollups_partitions", "rollups_retention_days"),
}
_RAW: Final = ("raw_", "order_", "refund_", "series_")
_STARTING: Final = frozenset({"RUNNING", "PENDING", "IDLE", "CONNECTING_TO_STREAM", "DISCOVERING_INITIAL_TASKS"})
_CREATING: Final = "CREATING_TASKS"


@dataclass(frozen=True, slots=True)
class TopicsFacts:
    """The topics, the brokers' addresses, and the expected sizes."""

    topics: tuple[KafkaTopic, ...]
    kafka: str
    expected: Expected


@dataclass(frozen=True, slots=True)
class TablesFacts:
    """The keyspace, and the expected sizes."""

    keyspace: CassandraKeyspace
    expected: Expected


def judge_topics(facts: TopicsFacts, limits: Limits) -> Verdict:
    """Judge whether the topics exist, are replicated, and keep records long enough."""
    findings = [finding for topic in facts.topics for finding in _topic(topic, facts, limits)]
    partitions = sum(topic.partitions for topic in facts.topics)
    replicas = min((topic.replicas for topic in facts.topics if topic.exists), default=0)
    there = sum(topic.exists for topic in facts.topics)
    text = f"{there} of {counted(len(facts.topics), 'topic')}, {partitions} partitions, {replicas} replicas"
    return Verdict(text, findings)


def _topic(topic: KafkaTopic, facts: TopicsFacts, limits: Limits) -> Iterator[Finding]:
    subject = f"topic {topic.name}"
    if not topic.exists:
        yield kinds.TOPIC_MISSING.about(subject, f"topic {topic.name} does not exist", "Kafka does not know the topic")
        return
    yield from _partitions(topic, subject, facts.expected)
    yield from _replicas(topic, subject, facts)
    yield from _settings(topic, subject, facts.expected, limits)


def _partitions(topic: KafkaTopic, subject: str, expected: Expected) -> Iterator[Finding]:
    evidence = f"Kafka: {counted(topic.partitions, 'partition')}"
    if topic.is_undeclared:
        cause = "the topic is not the log that the mesh declared"
        yield kinds.LOG_NOT_DECLARED.about(subject, cause, evidence)
        return
    # The topic of refused hits always has a single partition, so the number of partitions is not that of an option.
    certain = topic.wanted_partitions if _SIZE_OF[topic.is_log][0] in expected.certain else None
    wanted = topic.declared if topic.is_log else certain
    is_wrong = wanted is not None and (topic.partitions != wanted if topic.is_log else topic.partitions < wanted)
    if is_wrong:
        cause = f"the topic has {counted(topic.partitions, 'partition')}; the mesh expects {wanted}"
        yield kinds.TOPIC_PARTITIONS.about(subject, cause, evidence)


def _replicas(topic: KafkaTopic, subject: str, facts: TopicsFacts) -> Iterator[Finding]:
    needed = int(topic.config.get(_IN_SYNC, 1))
    evidence = f"{topic.in_sync} of {topic.replicas} replicas in sync, {_IN_SYNC} {needed}"
    if topic.leaderless:
        cause = f"partitions without a leader: {', '.join(map(str, topic.leaderless))}"
        yield kinds.NO_LEADER.about(subject, cause, evidence, kafka=facts.kafka)
    elif topic.in_sync < needed:
        cause = f"fewer replicas are in sync than Kafka needs for an acknowledgement ({needed})"
        yield kinds.NO_LEADER.about(subject, cause, evidence, kafka=facts.kafka)
    elif topic.in_sync < topic.replicas:
        cause = f"{topic.replicas - topic.in_sync} of {topic.replicas} replicas are not in sync"
        yield kinds.UNDER_REPLICATED.about(subject, cause, evidence, kafka=facts.kafka)
    expected = facts.expected
    if "replication" in expected.certain and topic.replicas != expected.values["replication"]:
        cause = f"the topic has {counted(topic.replicas, 'replica')}, not {expected.values['replication']}"
        yield kinds.TOPIC_REPLICAS.about(subject, cause, evidence)


def _settings(topic: KafkaTopic, subject: str, expected: Expected, limits: Limits) -> Iterator[Finding]:
    retention, wanted = int(topic.config[_RETENTION]), int(topic.wanted[_RETENTION])
    is_certain = _SIZE_OF[topic.is_log][1] in expected.certain
    shortest = wanted if is_certain else limits.hits_retention_days * DAY_MS if topic.is_log else DAY_MS
    # A negative retention means forever.
    if (is_certain and retention != wanted) or 0 <= retention < shortest:
        cause = f"the topic keeps records for {_days(retention)}; expected are {_days(shortest)}"
        yield kinds.TOPIC_RETENTION.about(subject, cause, f"{_RETENTION} {retention}")
    for name in (*_FIXED, *((_IN_SYNC,) if "min_insync" in expected.certain else ())):
        if name in topic.wanted and topic.config[name] != topic.wanted[name]:
            cause = f"{name} is {topic.config[name]}; the mesh needs {topic.wanted[name]}"
            yield kinds.TOPIC_SETTING.about(subject, cause, f"{name} {topic.config[name]}")


def _days(length_ms: int) -> str:
    return "ever" if length_ms < 0 else f"{length_ms / DAY_MS:g} days"


def judge_tables(facts: TablesFacts, limits: Limits) -> Verdict:
    """Judge whether the keyspace has this version's tables and enough replicas, and keeps rows long enough."""
    keyspace = facts.keyspace
    if not keyspace.replicas:
        cause = f"keyspace {keyspace.name} does not exist"
        finding = kinds.KEYSPACE_MISSING.about(
            f"keyspace {keyspace.name}", cause, "Cassandra does not know the keyspace"
        )
        return Verdict(cause, [finding])
    findings = [*_schema(keyspace), *_nodes(keyspace, facts.expected), *_expiry(keyspace, facts.expected, limits)]
    up = keyspace.nodes - len(keyspace.down)
    summary = f"schema version {keyspace.newest - len(keyspace.missing)} of {keyspace.newest}, "
    return Verdict(summary + f"{up} of {counted(keyspace.nodes, 'node')} up", findings)


def _schema(keyspace: CassandraKeyspace) -> Iterator[Finding]:
    subject = f"keyspace {keyspace.name}"
    if keyspace.problem:
        evidence = "table schema_migrations"
        yield kinds.SCHEMA_UNKNOWN.about(subject, keyspace.problem, evidence)
    if keyspace.missing:
        cause = f"{counted(len(keyspace.missing), 'migration')} missing"
        yield kinds.MIGRATION_MISSING.about(subject, cause, f"not applied: {', '.join(keyspace.missing)}")


def _nodes(keyspace: CassandraKeyspace, expected: Expected) -> Iterator[Finding]:
    evidence = (
        f"{len(keyspace.down)} of {counted(keyspace.nodes, 'node')} down; {keyspace.replicas} replicas of each row"
    )
    for address in keyspace.down:
        yield kinds.NODE_DOWN.about(f"node {address}", f"the node {address} is down", evidence)
    wanted = expected.values["replication"]
    if "replication" in expected.certain and keyspace.replicas < int(wanted):
        cause = f"each row has {counted(keyspace.replicas, 'replica')}, not {wanted}"
        yield kinds.ROW_REPLICAS.about(f"keyspace {keyspace.name}", cause, evidence)


def _expiry(keyspace: CassandraKeyspace, expected: Expected, limits: Limits) -> Iterator[Finding]:
    days = expected.values["hits_retention_days"] if "hits_retention_days" in expected.certain else None
    shortest = (limits.hits_retention_days if days is None else int(days)) + limits.settle_days
    for table, kept in sorted(keyspace.ttl_days.items()):
        if table.startswith(_RAW) and 0 < kept < shortest:
            cause = f"rows of {table} expire after {kept} days, before a day is certainly settled ({shortest} days)"
            yield kinds.ROWS_EXPIRE.about(f"table {table}", cause, f"default_time_to_live {kept} days")


def judge_sources(facts: tuple[DruidSource, ...], limits: Limits) -> Verdict:
    """Judge whether Druid ingests and serves the rows."""
    findings = [finding for source in facts for finding in _source(source, limits)]
    running = sum(source.exists and not source.is_suspended for source in facts)
    lag = max((source.lag or 0 for source in facts), default=0)
    return Verdict(f"{running} of {counted(len(facts), 'supervisor')} running, lag {lag:,} messages", findings)


def _source(source: DruidSource, limits: Limits) -> Iterator[Finding]:
    subject = f"data source {source.name}"
    yield from _supervisor(source, f"supervisor {source.name}", limits)
    if source.unavailable_segments:
        cause = f"{counted(source.unavailable_segments, 'segment')} not loaded by any data server"
        yield kinds.SEGMENTS_UNAVAILABLE.about(
            subject, cause, f"loadstatus: {source.unavailable_segments} left to load"
        )
    if not (source.has_compaction and source.has_retention):
        missing = "no compaction" if source.has_retention else "no retention rule"
        yield kinds.NO_COMPACTION.about(subject, f"the data source has {missing}", "the coordinator returns no setting")


def _supervisor(source: DruidSource, subject: str, limits: Limits) -> Iterator[Finding]:
    lag = "unknown" if source.lag is None else f"{source.lag:,} messages"
    evidence = f"state {source.state or 'unknown'}, {counted(source.tasks, 'active task')}, lag {lag}"
    evidence += "".join(f"; {error}" for error in source.errors)
    if not source.exists:
        cause = f"Druid has no supervisor {source.name}"
        yield kinds.SUPERVISOR_MISSING.about(subject, cause, "the overlord does not know the supervisor")
    elif source.is_suspended:
        yield kinds.SUPERVISOR_SUSPENDED.about(subject, "the supervisor is suspended", evidence)
    elif source.state not in _STARTING and source.state != _CREATING:
        cause = f"the supervisor is in the state {source.state or 'unknown'}"
        yield kinds.SUPERVISOR_UNHEALTHY.about(subject, cause, evidence)
    elif source.lag is not None and source.lag > limits.druid_lag_rows:
        cause = f"{source.lag:,} messages of the topic are not ingested, more than {limits.druid_lag_rows:,}"
        yield kinds.INGESTION_LAG.about(subject, cause, evidence)
