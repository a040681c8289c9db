"""Settings for all tests: the Hypothesis profiles, and the meshes on real servers that tests share.

`ci` (chosen by the environment variable CI or HYPOTHESIS_PROFILE=ci) tries the same examples at every run, so
that a failure there fails everywhere; `dev` tries new ones. Both try as many (support/examples.py), and neither has a
deadline per example: the time-out per test is pytest's, and a slow machine is no failure.
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
    """Name bytes by their length: workers must agree on every name, and bytes can hold a time of day (gzip does)."""
    return f"{argname}_of_{len(val)}" if isinstance(val, bytes) else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every test its ceiling, once the directories have set their markers."""
    lengthen_timeouts(items)


@pytest.fixture(scope="session")
def meshes() -> Iterator[Meshes]:
    """Meshes on the servers of this run, one after the other."""
    shared = Meshes()
    yield shared
    shared.drop()
