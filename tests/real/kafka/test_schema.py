"""Test topic plans: their text, their changes, and refused plans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from confluent_kafka.admin import AdminClient

from hitmesh.adapters.cassandra.logs import DeclaredLogs
from hitmesh.adapters.kafka import schema
from hitmesh.adapters.schema_plan import Action, SchemaOptions
from hitmesh.adapters.servers import Servers
from hitmesh.model.errors import FatalError, RefusedError
from hitmesh.model.positions import Topic
from tests.real.kafka.parts import Parts
from tests.support.removal import remove_topics
from tests.support.servers import OPTIONS, apply
from tests.support.waiting import eventually


def planned(servers: Servers, options: SchemaOptions = OPTIONS) -> Mapping[str, tuple[Action, str]]:
    """Return the planned action for each topic, keyed by the topic's name within the mesh."""
    changes = schema.plan(servers, options)
    return {
        change.thing.removeprefix(f"topic {servers.name}."): (change.action, change.description) for change in changes
    }


def wait_until_removed(servers: Servers) -> None:
    """Block until the plan creates every topic. A broker needs a moment until its list omits removed topics."""
    eventually(lambda: {action for action, _ in planned(servers).values()} == {Action.CREATE}, "no topic is left", 30)


def test_existing_topics_are_kept(servers: Servers) -> None:
    plan = planned(servers)
    assert list(plan) == ["hits", "rejected", "rollups.traffic", "rollups.visits"]
    assert {action for action, _ in plan.values()} == {Action.KEEP}
    assert plan["hits"][1] == "4 partitions, up to date"


def test_plan_of_a_new_mesh_lists_the_topics_to_create(servers: Servers) -> None:
    plan = planned(replace(servers, name="not_there", keyspace="not_there"))
    assert {action for action, _ in plan.values()} == {Action.CREATE}
    assert plan["hits"][1].startswith("4 partitions, 1 replicas, cleanup.policy=delete, compression.type=zstd")
    assert "message.timestamp.type=LogAppendTime" in plan["hits"][1]
    assert plan["rejected"][1].startswith("1 partitions")


def test_topics_are_removed_however_often(servers: Servers) -> None:
    for _ in range(2):
        remove_topics(servers)
    wait_until_removed(servers)


def test_changed_option_is_planned_and_applied(servers: Servers) -> None:
    longer = replace(OPTIONS, hits_retention_days=9)
    plan = planned(servers, longer)
    assert plan["hits"] == (Action.CHANGE, "retention.ms 604800000 becomes 777600000")
    assert plan["rollups.visits"][0] is Action.KEEP
    apply(schema.plan(servers, longer))
    assert planned(servers, longer)["hits"][0] is Action.KEEP
    assert planned(servers)["hits"] == (Action.CHANGE, "retention.ms 777600000 becomes 604800000")


def test_rollups_may_get_more_partitions(servers: Servers) -> None:
    more = replace(OPTIONS, rollups_partitions=3)
    action, description = planned(servers, more)["rollups.traffic"]
    assert action is Action.CHANGE
    assert description.startswith("2 partitions become 3")
    apply(schema.plan(servers, more))
    assert {planned_action for planned_action, _ in planned(servers, more).values()} == {Action.KEEP}
    with pytest.raises(RefusedError, match="has 3 partitions, not 2"):
        planned(servers)


@pytest.mark.parametrize("count", [3, 5])
def test_partitions_of_hits_never_change(servers: Servers, count: int) -> None:
    with pytest.raises(RefusedError, match=f"has 4 partitions, not {count}: a change would move sites"):
        planned(servers, replace(OPTIONS, hits_partitions=count))


def test_copies_are_not_changed_silently(servers: Servers) -> None:
    with pytest.raises(RefusedError, match="has 1 replicas, not 3: change the replicas"):
        planned(servers, replace(OPTIONS, replication=3))


def test_topic_that_is_no_declared_log_is_declared(parts: Parts) -> None:
    before = parts.catalogue.log_id(Topic.HITS)
    parts.session.run("TRUNCATE logs")
    with pytest.raises(FatalError, match="run hitmesh init"):
        DeclaredLogs(parts.session).log_id(Topic.HITS)
    action, description = planned(parts.servers)["hits"]
    assert (action, "not declared" in description) == (Action.CHANGE, True)
    apply(schema.plan(parts.servers, OPTIONS))
    again = DeclaredLogs(parts.session)
    assert (again.log_id(Topic.HITS), again.partitions(Topic.HITS)) == (before, 4)


def test_topic_that_another_makes_at_the_same_time_is_taken_as_it_is(servers: Servers) -> None:
    remove_topics(servers)
    wait_until_removed(servers)
    changes = schema.plan(servers, OPTIONS)
    for _ in range(2):
        apply(changes)
    admin = AdminClient({"bootstrap.servers": servers.kafka})
    mine = f"{servers.name}."
    eventually(
        lambda: sum(name.startswith(mine) for name in admin.list_topics(timeout=60).topics) == 4, "four topics", 30
    )
