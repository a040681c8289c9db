"""Start a stack that only the tests of backups use, and provide an empty mesh on it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hitmesh.adapters.servers import Servers, parse_servers
from hitmesh.tools.stack.commands import down, ensure_up
from tests.support import servers

HOME = servers.HOME.with_name(f"{servers.HOME.name}-restore")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test in this directory as a long test on servers."""
    for item in items:
        if "tests/breaking/restore/" in item.path.as_posix():
            item.add_marker(pytest.mark.servers)
            item.add_marker(pytest.mark.long)


@pytest.fixture(scope="session")
def stack_home() -> Iterator[Path]:
    """Start the stack, and remove it with its data at the end."""
    ensure_up(HOME, print)
    yield HOME
    down(HOME, print)
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture
def mesh_servers(stack_home: Path) -> Servers:
    """Return the addresses of an empty mesh. The stack is removed after the tests, and the mesh with it."""
    return servers.a_mesh(on=parse_servers(ensure_up(stack_home, print)))
