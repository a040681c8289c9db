"""Test the doctor's pure functions about Kafka, Cassandra and Druid. Every kind of finding has facts that cause it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from hitmesh.adapters.schema_plan import DAYS_UNTIL_SETTLED, SchemaOptions
from hitmesh.model.server_facts import CassandraKeyspace, DruidSource, Expected, KafkaTopic
from hitmesh.model.zones import DAY_MS
from hitmesh.tools.doctor.checks import CHECKS
from hitmesh.tools.doctor.judge_servers import TablesFacts, TopicsFacts
from hitmesh.tools.doctor.limits import Limits
from hitmesh.tools.doctor.running import Needs

DEFAULTS = {name: getattr(SchemaOptions(), name) for name in SchemaOptions.__dataclass_fields__}
UNSURE = Expected(DEFAULTS, frozenset())
SURE = Expected(DEFAULTS, frozenset(DEFAULTS))
CONFIG = {
    "retention.ms": str(7 * DAY_MS),
    "min.insync.replicas": "1",
    "cleanup.policy": "delete",
    "message.timestamp.type": "LogAppendTime",
}
HITS = KafkaTopic("m.hits", True, 4, 1, 1, (), CONFIG, CONFIG, 4, is_log=True, declared=4)
ROLLUPS_CONFIG = {name: value for name, value in CONFIG.items() if name != "message.timestamp.type"} | {
    "retention.ms": str(3 * DAY_MS)
}
ROLLUPS = KafkaTopic("m.rollups.traffic", True, 2, 1, 1, (), ROLLUPS_CONFIG, ROLLUPS_CONFIG, 2)
KEYSPACE = CassandraKeyspace("m", 1, newest=33, nodes=1, ttl_days={"raw_records": 0, "series_settled": 10})
SOURCE = DruidSource("m_traffic", True, state="RUNNING", lag=0, tasks=1)


def topics(topic: KafkaTopic, expected: Expected = UNSURE) -> TopicsFacts:
    return TopicsFacts((topic,), "k:9092", expected)


def configured(topic: KafkaTopic, **values: object) -> KafkaTopic:
    changed = {name.replace("_", "."): str(value) for name, value in values.items()}
    return replace(topic, config={**topic.config, **changed})


def tables(expected: Expected = UNSURE, **values: Any) -> TablesFacts:
    return TablesFacts(replace(KEYSPACE, **values), expected)


def sources(**values: Any) -> tuple[DruidSource, ...]:
    return (replace(SOURCE, **values),)


BROKEN: list[tuple[str, Any, str]] = [
    ("topics", topics(KafkaTopic("m.hits", exists=False)), "TOPIC_MISSING"),
    ("topics", topics(replace(HITS, partitions=3)), "TOPIC_PARTITIONS"),
    ("topics", topics(replace(HITS, partitions=5)), "TOPIC_PARTITIONS"),
    ("topics", topics(replace(ROLLUPS, partitions=1), SURE), "TOPIC_PARTITIONS"),
    ("topics", topics(replace(HITS, declared=None, is_undeclared=True)), "LOG_NOT_DECLARED"),
    ("topics", topics(configured(HITS, retention_ms=7 * DAY_MS - 1)), "TOPIC_RETENTION"),
    ("topics", topics(configured(HITS, retention_ms=30 * DAY_MS), SURE), "TOPIC_RETENTION"),
    ("topics", topics(configured(HITS, retention_ms=-1), SURE), "TOPIC_RETENTION"),
    ("topics", topics(configured(ROLLUPS, retention_ms=DAY_MS - 1)), "TOPIC_RETENTION"),
    ("topics", topics(configured(HITS, message_timestamp_type="CreateTime")), "TOPIC_SETTING"),
    ("topics", topics(configured(HITS, cleanup_policy="compact")), "TOPIC_SETTING"),
    ("topics", topics(replace(HITS, replicas=2, in_sync=2), SURE), "TOPIC_REPLICAS"),
    ("topics", topics(replace(HITS, replicas=3, in_sync=2)), "UNDER_REPLICATED"),
    ("topics", topics(replace(HITS, leaderless=(2,))), "NO_LEADER"),
    ("topics", topics(configured(replace(HITS, replicas=3, in_sync=1), min_insync_replicas=2)), "NO_LEADER"),
    ("tables", tables(replicas=0), "KEYSPACE_MISSING"),
    ("tables", tables(missing=("0033_quotas",)), "MIGRATION_MISSING"),
    ("tables", tables(problem="the keyspace has migration 99"), "SCHEMA_UNKNOWN"),
    ("tables", tables(nodes=3, down=("10.0.0.1:9042",)), "NODE_DOWN"),
    ("tables", tables(Expected({**DEFAULTS, "replication": 3}, SURE.certain)), "ROW_REPLICAS"),
    ("tables", tables(ttl_days={"raw_records": 9}), "ROWS_EXPIRE"),
    ("tables", tables(ttl_days={"series_settled": 1}), "ROWS_EXPIRE"),
    ("sources", sources(exists=False, state=""), "SUPERVISOR_MISSING"),
    ("sources", sources(is_suspended=True, state="SUSPENDED"), "SUPERVISOR_SUSPENDED"),
    ("sources", sources(state="UNHEALTHY_TASKS"), "SUPERVISOR_UNHEALTHY"),
    ("sources", sources(state=""), "SUPERVISOR_UNHEALTHY"),
    ("sources", sources(lag=100_001), "INGESTION_LAG"),
    ("sources", sources(unavailable_segments=1), "SEGMENTS_UNAVAILABLE"),
    ("sources", sources(has_compaction=False), "NO_COMPACTION"),
    ("sources", sources(has_retention=False), "NO_COMPACTION"),
]
"""A check, facts, and the code of the expected finding."""
RIGHT: list[tuple[str, Any]] = [
    *(("topics", topics(topic, expected)) for topic in (HITS, ROLLUPS) for expected in (UNSURE, SURE)),
    ("topics", topics(replace(ROLLUPS, partitions=3), SURE)),
    ("topics", topics(replace(ROLLUPS, partitions=1))),
    ("topics", topics(replace(HITS, declared=None))),
    ("topics", topics(configured(HITS, retention_ms=-1))),
    ("topics", topics(configured(HITS, retention_ms=30 * DAY_MS))),
    ("topics", topics(replace(HITS, name="m.rejected", partitions=1, wanted_partitions=1, declared=1), SURE)),
    ("topics", topics(configured(replace(HITS, replicas=3, in_sync=3), min_insync_replicas=2))),
    ("tables", tables()),
    ("tables", tables(SURE)),
    ("tables", tables(ttl_days={"raw_records": 10, "keys": 1})),
    ("sources", sources()),
    ("sources", sources(lag=None)),
    ("sources", sources(state="CREATING_TASKS", tasks=0)),
    ("sources", sources(lag=100_000)),
]
"""Facts without a finding."""


def codes(check: str, facts: Any) -> Sequence[str]:
    judge = next(each.judge for each in CHECKS if each.name == check)
    return [finding.kind.code for finding in judge(facts, Limits()).findings]


@pytest.mark.parametrize(("check", "facts", "code"), BROKEN)
def test_broken_servers_are_exactly_the_expected_finding(check: str, facts: Any, code: str) -> None:
    assert codes(check, facts) == [code]


@pytest.mark.parametrize(("check", "facts"), RIGHT)
def test_servers_within_all_limits_are_no_finding(check: str, facts: Any) -> None:
    assert codes(check, facts) == []


def test_every_kind_of_finding_about_servers_has_facts_that_cause_it() -> None:
    documented = {(check.name, kind.code) for check in CHECKS if check.needs is Needs.SERVERS for kind in check.kinds}
    assert documented == {(check, code) for check, _, code in BROKEN}


def test_rows_must_outlive_hits_by_the_time_until_a_day_is_settled() -> None:
    assert Limits().settle_days == DAYS_UNTIL_SETTLED
