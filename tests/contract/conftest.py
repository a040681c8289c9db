"""The stores for contract tests: each test runs once per adapter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hitmesh.adapters.factory import Stores, open_stores
from hitmesh.model.limits import MAX_LEAD_MS
from hitmesh.ports import Clock
from hitmesh.runtime.clock import SystemClock
from tests.support.clock import ManualClock
from tests.support.opened import NOON, Opener
from tests.support.servers import Meshes

SERVERS = "servers"
# Modules that need Druid. Druid's tasks take seconds to start.
WITH_DRUID = ("test_rows", "test_streaming", "test_streamed_rows")
SERVERS_TIMEOUT_S = 180
LONG_ON_SERVERS = frozenset({"test_many_small_transactions_answer_as_one_large[servers-400]"})
"""Tests on real servers that only `make test-long` runs. `make test` runs the same tests with smaller sizes."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Set the time-out for tests on real servers."""
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec is not None and callspec.params.get("opener") == SERVERS:
            item.add_marker(pytest.mark.timeout(SERVERS_TIMEOUT_S))
            item.add_marker(pytest.mark.servers)
            if item.name in LONG_ON_SERVERS:
                item.add_marker(pytest.mark.long)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


@pytest.fixture
def log_clock(request: pytest.FixtureRequest, clock: ManualClock) -> Clock:
    """Return the clock from which the log takes its log times. On servers, the log has the broker's clock."""
    return SystemClock() if request.node.callspec.params["opener"] == SERVERS else clock


@pytest.fixture
def taken_at(log_clock: Clock) -> int:
    """Return the log time of a record that is collected at NOON.

    The log time is the log's current time, but at most 10 min after NOON.
    """
    return min(log_clock.now(), NOON + MAX_LEAD_MS)


@pytest.fixture(params=["memory", "embedded", SERVERS])
def opener(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Iterator[Opener]:
    """Provide a function that opens the same store again, as another process would.

    The store in memory cannot be opened twice, so for this store the function always returns the same object.
    """
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
