"""Test the doctor on real Kafka, Cassandra and Druid: each part is broken, found, and cured by the printed command."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # exported without a declaration
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.adapters.druid.client import DruidClient
from hitmesh.adapters.druid.schema import INDEXER
from hitmesh.adapters.servers import Servers
from hitmesh.model.positions import Topic
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.tools.cli.doctor_output import command_of
from hitmesh.tools.doctor.checks import CHECKS
from hitmesh.tools.doctor.findings import Diagnosis, Status
from hitmesh.tools.doctor.place import Options, Place, find_place
from hitmesh.tools.doctor.running import Needs, diagnose
from tests.support.mesh import run_command
from tests.support.removal import remove_mesh
from tests.support.servers import OPTIONS, a_mesh
from tests.support.waiting import eventually

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

SIZES = {
    "hits_partitions": OPTIONS.hits_partitions,
    "rollups_partitions": OPTIONS.rollups_partitions,
    "hits_retention_days": OPTIONS.hits_retention_days,
    "rollups_retention_days": OPTIONS.rollups_retention_days,
    "replication": OPTIONS.replication,
    "min_insync": OPTIONS.min_insync,
}


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """Return a mesh that the tests of this module break and cure."""
    made = a_mesh()
    yield made
    remove_mesh(made)


def place(servers: Servers, **sizes: Any) -> Place:
    return find_place(Options(endpoint="127.0.0.1:1", backend=servers.url, sizes=SIZES | sizes), Path("/"), {})


def examined(where: Place, *names: str) -> Diagnosis:
    chosen = [check for check in CHECKS if (check.name in names if names else check.needs is Needs.SERVERS)]
    return diagnose(where, chosen)


def codes(where: Place, *names: str) -> list[str]:
    return [finding.kind.code for finding in examined(where, *names).findings]


def cure(where: Place, code: str) -> None:
    """Run the command of the finding with the code, and confirm its changes."""
    command = next(command_of(finding, where) for finding in examined(where).findings if finding.kind.code == code)
    program, *arguments = shlex.split(command)
    assert program == "hitmesh"
    done = run_command([*arguments, "--yes"])
    assert done.code == 0, done.err


def wait_until_well(where: Place) -> None:
    eventually(lambda: not codes(where), "the doctor finds nothing", 90)


def test_servers_that_were_just_made_have_no_finding(servers: Servers) -> None:
    wait_until_well(place(servers))
    found = examined(place(servers))
    assert [(result.check, result.status) for result in found.results] == [
        ("topics", Status.OK),
        ("tables", Status.OK),
        ("sources", Status.OK),
    ]


def test_a_retention_that_was_changed_is_found_and_set_back(servers: Servers) -> None:
    name = servers.topic(Topic.HITS)
    entry = ConfigEntry("retention.ms", "3600000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry])
    client = admin(servers)  # a client without a reference ends its requests
    client.incremental_alter_configs([resource])[resource].result()
    unsure = find_place(Options(endpoint="127.0.0.1:1", backend=servers.url), Path("/"), {})
    eventually(lambda: codes(unsure, "topics") == ["TOPIC_RETENTION"], "the retention is found without any size", 30)
    assert codes(place(servers), "topics") == ["TOPIC_RETENTION"]
    cure(place(servers), "TOPIC_RETENTION")
    wait_until_well(place(servers))


def test_a_missing_migration_is_found_and_applied(servers: Servers) -> None:
    with closing(CassandraSession(servers)) as session:
        newest = max(row.number for row in session.run("SELECT number FROM schema_migrations"))
        session.run("DELETE FROM schema_migrations WHERE number = ?", (newest,))
        (finding,) = examined(place(servers), "tables").findings
        assert finding.kind.code == "MIGRATION_MISSING"
        assert f"not applied: {newest:04d}_" in finding.evidence
        session.run(
            "INSERT INTO schema_migrations (number, name, digest) VALUES (?, ?, ?)", (newest + 1, "later", "digest")
        )
        assert set(codes(place(servers), "tables")) == {"MIGRATION_MISSING", "SCHEMA_UNKNOWN"}
        session.run("DELETE FROM schema_migrations WHERE number = ?", (newest + 1,))
    cure(place(servers), "MIGRATION_MISSING")
    assert codes(place(servers), "tables") == []


def test_a_suspended_and_a_missing_supervisor_are_found_and_start_again(servers: Servers) -> None:
    traffic, visits = (servers.data_source(source) for source in (RowSource.TRAFFIC, RowSource.VISITS))
    with closing(DruidClient(servers)) as client:
        client.coordinator("POST", f"{INDEXER}/supervisor/{traffic}/suspend")
        client.coordinator("POST", f"{INDEXER}/supervisor/{visits}/terminate")
    expected = {(f"supervisor {traffic}", "SUPERVISOR_SUSPENDED"), (f"supervisor {visits}", "SUPERVISOR_MISSING")}

    def found() -> bool:
        return {(each.subject, each.kind.code) for each in examined(place(servers), "sources").findings} == expected

    eventually(found, "both supervisors are found", 60)
    cure(place(servers), "SUPERVISOR_SUSPENDED")
    wait_until_well(place(servers))


def test_a_log_that_was_deleted_and_created_again_is_found(servers: Servers) -> None:
    name = servers.topic(Topic.REJECTED)
    client = admin(servers)  # a client without a reference ends its requests
    client.delete_topics([name])[name].result()
    eventually(lambda: codes(place(servers), "topics") == ["TOPIC_MISSING"], "the missing topic is found", 30)
    client.create_topics([NewTopic(name, 1, 1)])[name].result()
    eventually(lambda: "LOG_NOT_DECLARED" in codes(place(servers), "topics"), "the new log is found", 30)
    cure(place(servers), "LOG_NOT_DECLARED")
    wait_until_well(place(servers))


def test_too_few_partitions_are_found_and_added(servers: Servers) -> None:
    """The topics keep the additional partitions, so this test comes after the tests of cures."""
    more = place(servers, rollups_partitions=3)
    assert codes(more, "topics") == ["TOPIC_PARTITIONS"] * 2
    cure(more, "TOPIC_PARTITIONS")
    wait_until_well(more)


@pytest.mark.parametrize(
    ("check", "part", "named"),
    [
        ("topics", {"kafka": "127.0.0.1:1"}, "Kafka at 127.0.0.1:1"),
        ("tables", {"cassandra": "127.0.0.1:1"}, "Cassandra at 127.0.0.1:1"),
        ("sources", {"coordinator": "http://127.0.0.1:1"}, "Druid's coordinator at http://127.0.0.1:1"),
    ],
)
def test_a_server_that_does_not_answer_is_named_in_time(
    servers: Servers, check: str, part: dict[str, Any], named: str
) -> None:
    found = diagnose(place(replace(servers, **part)), [each for each in CHECKS if each.name == check], at_most_s=10)
    (finding,) = found.findings
    assert finding.kind.code == "STORE_NO_ANSWER"
    assert named in finding.cause
    assert found.duration_s < 12


def admin(servers: Servers) -> AdminClient:
    return AdminClient({"bootstrap.servers": servers.kafka})
