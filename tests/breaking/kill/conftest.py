"""The stores of the crash tests: embedded stores, and real servers with a separate mesh for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import Meshes


@pytest.fixture(params=["embedded", pytest.param("servers", marks=pytest.mark.servers)])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return the URL of an empty store."""
    if request.param == "embedded":
        yield f"embedded:{tmp_path}/data"
        return
    meshes: Meshes = request.getfixturevalue("meshes")
    servers = meshes.fresh(with_druid=True)
    yield servers.url
    meshes.release(servers, with_druid=True)
