"""Provide a mesh for tests that use only Druid's adapters."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hitmesh.adapters.factory import Stores, open_stores
from hitmesh.adapters.servers import Servers
from hitmesh.runtime.clock import SystemClock
from tests.support.removal import remove_mesh
from tests.support.servers import a_mesh

TIMEOUT_S = 240


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Extend the time-out of these tests by the time that the servers need to start."""
    for item in items:
        if "tests/real/druid/" in item.path.as_posix():
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))
            item.add_marker(pytest.mark.servers)


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    made = a_mesh()
    yield made
    remove_mesh(made)


@pytest.fixture(scope="session")
def stores(servers: Servers) -> Iterator[Stores]:
    opened = open_stores(servers.url, SystemClock())
    yield opened
    opened.close()
