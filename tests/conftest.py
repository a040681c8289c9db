"""Configure all tests with Hypothesis profiles, and with meshes on real servers that tests share.

Profile `ci` tries the same examples in every run, so that a failure is reproducible. The environment variable CI or
HYPOTHESIS_PROFILE=ci selects the profile `ci`. Profile `dev` tries new examples. Both profiles try the same number of
examples (support/examples.py). Examples have no deadline, because a slow machine must not fail a test. pytest limits
the time of each test.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.examples import examples
from tests.support.patience import lengthen_timeouts
from tests.support.servers import Meshes

settings.register_profile(
    "dev",
    parent=examples(40),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "ci",
    parent=examples(40),
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a parameter of type bytes by its length.

    Bytes in gzip format may contain the time at which they were compressed. If pytest made the name from the bytes, the
    name would differ between workers.
    """
    return f"{argname}_of_{len(val)}" if isinstance(val, bytes) else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Set every test's time-out, after each directory's conftest has set its markers."""
    lengthen_timeouts(items)


@pytest.fixture(scope="session")
def meshes() -> Iterator[Meshes]:
    """Provide meshes on this run's servers, one after the other."""
    shared = Meshes()
    yield shared
    shared.drop()
