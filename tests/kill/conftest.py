"""The stores under which things die: embedded ones, and real servers with a mesh of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hitmesh.adapters import schema
from tests.servers import a_mesh


@pytest.fixture(params=["embedded", pytest.param("servers", marks=pytest.mark.servers)])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a store in which nothing is."""
    if request.param == "embedded":
        yield f"embedded:{tmp_path}/data"
        return
    servers = a_mesh()
    yield servers.url
    schema.drop(servers)
