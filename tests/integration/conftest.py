"""Fixtures for the tests that use a real Envoy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hitmesh.tools.dev.envoy import Address, Door
from tests.support import doors, flooded_doors


@pytest.fixture(scope="session")
def running_door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Door, Path]]:
    run = tmp_path_factory.mktemp("a-directory-whose-path-is-longer-than-the-address-of-a-socket-file-may-be" * 2)
    for door in doors.running_door(run):
        yield door, run


@pytest.fixture
def door(running_door: tuple[Door, Path]) -> Address:
    return running_door[0].http


@pytest.fixture
def operators(running_door: tuple[Door, Path]) -> Address:
    return running_door[0].operators


@pytest.fixture
def stats(running_door: tuple[Door, Path]) -> Address:
    return running_door[0].stats


@pytest.fixture(scope="session")
def flooded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[flooded_doors.FloodedDoor]:
    """Provide an Envoy with small limits that tests may flood."""
    yield from flooded_doors.flooded_door(tmp_path_factory.mktemp("flooded"))
