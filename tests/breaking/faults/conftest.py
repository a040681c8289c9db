"""A mesh on the servers of this run, for each test one of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.servers import Meshes


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of these run on servers."""
    for item in items:
        if "tests/breaking/faults/" in item.path.as_posix():
            item.add_marker(pytest.mark.servers)


@pytest.fixture
def store_url(meshes: Meshes) -> Iterator[str]:
    """The URL of a mesh in which nothing is."""
    servers = meshes.fresh(with_druid=True)
    yield servers.url
    meshes.release(servers, with_druid=True)
