"""Provide a mesh in Kafka and Cassandra for tests that use only Kafka's adapters."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hitmesh.adapters.servers import Servers
from tests.real.kafka.parts import Parts
from tests.support.servers import Meshes

TIMEOUT_S = 180


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Extend the time-out of these tests by the time that the servers need to start."""
    for item in items:
        if "tests/real/kafka/" in item.path.as_posix():
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))
            item.add_marker(pytest.mark.servers)


@pytest.fixture
def servers(meshes: Meshes) -> Iterator[Servers]:
    made = meshes.fresh(with_druid=False)
    yield made
    meshes.release(made, with_druid=False)


@pytest.fixture
def parts(servers: Servers) -> Iterator[Parts]:
    opened = Parts(servers)
    yield opened
    opened.close()
