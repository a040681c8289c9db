"""Provide a keyspace for tests that use only Cassandra's adapters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from hitmesh.adapters.cassandra import schema
from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.adapters.servers import Servers
from tests.support.removal import remove_keyspace
from tests.support.servers import OPTIONS, a_name, apply, running

TIMEOUT_S = 180


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Extend the time-out of these tests by the time that the servers need to start."""
    for item in items:
        if "tests/real/cassandra/" in item.path.as_posix():
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))
            item.add_marker(pytest.mark.servers)


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    made = replace(running(), name=a_name())
    apply(schema.plan(made, OPTIONS))
    yield made
    remove_keyspace(made)


@pytest.fixture
def session(servers: Servers) -> Iterator[CassandraSession]:
    opened = CassandraSession(servers)
    yield opened
    opened.close()
