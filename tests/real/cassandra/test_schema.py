"""Test the Cassandra schema that `hitmesh init` creates."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from hitmesh.adapters.cassandra import schema
from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.adapters.schema_plan import Action, Change
from hitmesh.adapters.servers import Servers
from hitmesh.model.errors import FatalError
from tests.support.removal import remove_keyspace
from tests.support.servers import OPTIONS, a_name, apply, running

KEPT = replace(OPTIONS, raw_ttl_days=400, series_ttl_days=30)


@pytest.fixture
def fresh() -> Iterator[Servers]:
    made = replace(running(), name=a_name())
    yield made
    remove_keyspace(made)


def differing(plan: list[Change]) -> list[str]:
    return [change.thing for change in plan if change.action is not Action.KEEP]


@pytest.mark.long  # creating all tables again slows every other test on Cassandra
def test_plan_that_was_applied_leaves_nothing_to_do(fresh: Servers) -> None:
    plan = schema.plan(fresh, KEPT)
    assert (plan[0].thing, plan[0].action) == (f"keyspace {fresh.name}", Action.CREATE)
    apply(plan)
    apply(plan)
    assert differing(schema.plan(fresh, KEPT)) == []


@pytest.mark.long  # creating all tables again slows every other test on Cassandra
def test_time_to_live_is_changed_and_records_outlive_their_index(fresh: Servers) -> None:
    apply(schema.plan(fresh, OPTIONS))
    changes = {
        change.thing: change.description for change in schema.plan(fresh, KEPT) if change.action is Action.CHANGE
    }
    assert "kept 400 days instead of forever" in changes["table raw_index"]
    assert "kept 401 days instead of forever" in changes["table raw_records"]
    assert "kept 30 days instead of forever" in changes["table series_settled_days"]
    assert "kept 31 days instead of forever" in changes["table series_settled"]
    assert "table dirty_marks" not in changes


def test_copies_are_added_and_never_taken_away(fresh: Servers) -> None:
    apply(schema.plan(fresh, OPTIONS)[:1])
    (more, *_) = schema.plan(fresh, replace(OPTIONS, replication=3))
    assert (more.action, "from 1 to 3" in more.description) == (Action.CHANGE, True)
    more.apply()
    (fewer, *_) = schema.plan(fresh, OPTIONS)
    assert (fewer.action, fewer.description) == (Action.KEEP, "3 replicas of each row")


def test_migration_that_was_changed_or_is_of_a_newer_program_is_refused(fresh: Servers) -> None:
    apply(schema.plan(fresh, OPTIONS))
    with closing(CassandraSession(fresh)) as session:
        session.run("INSERT INTO schema_migrations (number, digest) VALUES (9999, 'x')")
        with pytest.raises(FatalError, match="9999, unknown to this hitmesh version"):
            schema.plan(fresh, OPTIONS)
        session.run("DELETE FROM schema_migrations WHERE number = 9999")
        session.run("UPDATE schema_migrations SET digest = 'x' WHERE number = 1")
        with pytest.raises(FatalError, match=r"migration 1 \(logs\) was changed after it was applied"):
            schema.plan(fresh, OPTIONS)


def test_migration_that_was_cut_short_is_run_again(fresh: Servers) -> None:
    apply(schema.plan(fresh, OPTIONS))
    with closing(CassandraSession(fresh)) as session:
        session.run("DELETE FROM schema_migrations WHERE number = 2")
        session.change_schema("DROP TABLE raw_site_days")
        plan = schema.plan(fresh, OPTIONS)
        assert differing(plan) == ["migration 0002_raw"]
        apply(plan)
        assert session.run("SELECT * FROM raw_site_days") == []
