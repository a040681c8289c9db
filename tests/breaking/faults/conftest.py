"""Provide a separate mesh for each test, on the servers of this run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.servers import Meshes


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test in this directory as a test on servers."""
    for item in items:
        if "tests/breaking/faults/" in item.path.as_posix():
            item.add_marker(pytest.mark.servers)


@pytest.fixture
def store_url(meshes: Meshes) -> Iterator[str]:
    """Return the URL of an empty mesh."""
    servers = meshes.fresh(with_druid=True)
    yield servers.url
    meshes.release(servers, with_druid=True)
