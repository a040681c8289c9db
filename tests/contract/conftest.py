"""The stores that a contract test runs on, once per adapter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hitmesh.adapters.factory import Stores, open_stores
from hitmesh.clock import ManualClock

NOON = 1_750_000_000_000
Opener = Callable[[], Stores]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


@pytest.fixture(params=["memory", "embedded"])
def opener(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Iterator[Opener]:
    """Opens the same store again, as another process would; in memory that is the same object."""
    opened: list[Stores] = []

    def open_again() -> Stores:
        if request.param == "embedded":
            opened.append(open_stores(f"embedded:{tmp_path / 'home'}", clock))
        elif not opened:
            opened.append(open_stores("memory:", clock))
        return opened[-1]

    yield open_again
    for stores in opened:
        stores.close()
        stores.close()


@pytest.fixture
def stores(opener: Opener) -> Stores:
    return opener()
