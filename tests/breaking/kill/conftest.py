"""The stores of the crash tests: embedded stores, and real servers with a separate mesh for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from processor.stream.commit import CommitStep
from tests.support.servers import Meshes

STEP_OF_EVERY_RUN = (CommitStep.TRANSACTION,)
"""The steps after which `make test` kills a processor on real servers.

If the processor dies after the transaction, the rows are stored, but the partials are missing. On files, `make test`
kills the processor after each step in turn. On real servers, the long tests kill the processor after each step
that `make test` leaves out.
"""


LONG_ON_SERVERS = frozenset({"test_random.py", "test_zombies.py"})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark a test as `long` if the test kills the processor after a step that `make test` skips.

    On real servers, also mark the tests that kill processes at random, and the tests with suspended processors
    (zombies).
    """
    for item in items:
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        on_servers = parameters.get("store_url") == "servers"
        of_every_run = STEP_OF_EVERY_RUN if on_servers else tuple(CommitStep)
        is_shown = parameters.get("steps", of_every_run) == of_every_run
        if not is_shown or (on_servers and item.path.name in LONG_ON_SERVERS):
            item.add_marker(pytest.mark.long)


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
