"""Start a stack with three Kafka brokers and three Cassandra nodes, and provide a mesh with three copies on it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from hitmesh.adapters.schema_plan import SchemaOptions
from hitmesh.adapters.servers import parse_servers
from hitmesh.tools.stack.commands import down, ensure_up
from hitmesh.tools.stack.members import on_loopback
from tests.breaking.outages.servers import Control
from tests.support import servers

HOME = servers.HOME.with_name(f"{servers.HOME.name}-members")
COPIES = SchemaOptions(hits_partitions=4, rollups_partitions=2, replication=3, min_insync=2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test in this directory as a test on servers."""
    for item in items:
        if "tests/breaking/members/" in item.path.as_posix():
            item.add_marker(pytest.mark.servers)


@pytest.fixture(scope="session")
def members_control() -> Iterator[Control]:
    """Start the stack, and remove it with its data at the end."""
    ensure_up(HOME, print, on_loopback(3))
    yield Control(HOME)
    down(HOME, print)
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture
def store_url(members_control: Control) -> str:
    """Return the URL of an empty mesh. The stack is removed after the tests, and the mesh with it."""
    members_control.start_all()
    on = parse_servers(ensure_up(HOME, print))
    return servers.a_mesh(COPIES, on).url
