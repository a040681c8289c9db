"""Provide a separate mesh for each test, on the servers of this run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hitmesh.model.errors import RetryError
from tests.breaking.outages.servers import Control, control
from tests.support.removal import remove_mesh
from tests.support.servers import a_mesh
from tests.support.waiting import eventually

DROPPED_S = 60.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test in this directory as a test on servers."""
    for item in items:
        if "tests/breaking/outages/" in item.path.as_posix():
            item.add_marker(pytest.mark.servers)


@pytest.fixture(scope="session")
def servers_control() -> Control:
    return control()


@pytest.fixture
def store_url(servers_control: Control) -> Iterator[str]:
    """Return the URL of an empty mesh."""
    servers = a_mesh()
    yield servers.url

    def is_dropped() -> bool:
        try:
            remove_mesh(servers)
        except RetryError:  # a server that was just resumed is not healthy at once
            return False
        return True

    eventually(is_dropped, "the mesh is removed", DROPPED_S)
