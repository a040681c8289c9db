"""The stores that a contract test runs on, once per adapter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hitmesh.adapters.factory import Stores, open_stores
from hitmesh.model.limits import MAX_LEAD_MS
from hitmesh.ports import Clock
from hitmesh.runtime.clock import ManualClock, SystemClock
from tests.support.opened import NOON, Opener
from tests.support.servers import Meshes

SERVERS = "servers"
# What is in these modules goes through Druid, whose tasks take seconds to start.
WITH_DRUID = ("test_rows", "test_streaming", "test_streamed_rows")
SERVERS_TIMEOUT_S = 180


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Gives tests on real servers the time they need."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec is not None and callspec.params.get("opener") == SERVERS:
            item.add_marker(pytest.mark.timeout(SERVERS_TIMEOUT_S))
            item.add_marker(pytest.mark.servers)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


@pytest.fixture
def log_clock(request: pytest.FixtureRequest, clock: ManualClock) -> Clock:
    """The clock of the log: a broker has one of its own."""
    return SystemClock() if request.node.callspec.params["opener"] == SERVERS else clock


@pytest.fixture
def taken_at(log_clock: Clock) -> int:
    """The log time of a record that was collected at NOON: a log whose clock is ahead takes it as 10 minutes older."""
    return min(log_clock.now(), NOON + MAX_LEAD_MS)


@pytest.fixture(params=["memory", "embedded", SERVERS])
def opener(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Iterator[Opener]:
    """Opens the same store again, as another process would; in memory that is the same object."""
    opened: list[Stores] = []
    with_druid = request.module.__name__.rpartition(".")[2] in WITH_DRUID
    if request.param == SERVERS:
        shared: Meshes = request.getfixturevalue("meshes")
        servers = shared.fresh(with_druid=with_druid)

    def open_again() -> Stores:
        if request.param == "embedded":
            opened.append(open_stores(f"embedded:{tmp_path / 'home'}", clock))
        elif request.param == SERVERS:
            opened.append(open_stores(servers.url, clock))
        elif not opened:
            opened.append(open_stores("memory:", clock))
        return opened[-1]

    yield open_again
    for stores in opened:
        stores.close()
        stores.close()
    if request.param == SERVERS:
        shared.release(servers, with_druid=with_druid)


@pytest.fixture
def stores(opener: Opener) -> Stores:
    return opener()
