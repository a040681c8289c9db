"""Fixtures for the end-to-end tests: a shared mesh, and separate meshes for tests that stop or kill their mesh."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from hitmesh.api.control.v1 import admin_pb2
from tests.support import servers
from tests.support.mesh import ROOT, Mesh
from tests.support.tenants import authorized

SHARED = ROOT.parent / "shared" / "data"
NewSite = Callable[..., str]
SAME_OVER_EVERY_STORE = frozenset(
    {
        "test_bad_input.py",
        "test_command_line.py",
        "test_dev.py",
        "test_hard_values.py",
        "test_keys.py",
        "test_real_files.py",
        "test_rejected_hits.py",
        "test_rest.py",
        "test_rights.py",
        "test_rules.py",
        "test_stream_protocol.py",
        "test_telemetry.py",
        "test_tenants.py",
    }
)
"""Modules that run on real servers only with the long tests.

These modules test Envoy, the command line, the client, and values that `tests/contract` stores in every store.
"""
SHOWN_ELSEWHERE_ON_SERVERS = frozenset({"test_crash.py", "test_generated.py", "test_live_stream.py"})
"""Modules that run on real servers only with the long tests, because other tests cover servers.

`tests/real/paths` compares both serving paths with the reference model. `tests/breaking` kills processes and servers
under load.
"""
LONGEST = "test_reprocessing.py"
LOADS_ON_SERVERS = frozenset(
    {
        "test_every_total_of_every_site_is_what_was_sent_and_the_ledger_balances",
        "test_probes_are_in_reports_within_seconds",
        "test_cpu_and_memory_of_every_process_are_reported",
    }
)
"""Tests of `hitmesh load` that `make test` runs on servers. Together, these tests run `hitmesh load` only once.

The other tests of `hitmesh load` run on servers only with the long tests.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests on real servers `long` if shorter tests cover the same behaviour, and run the longest file first."""
    items.sort(key=lambda item: item.path.name != LONGEST)
    for item in items:
        callspec = getattr(item, "callspec", None)
        if callspec and callspec.params.get("backend") == "stack" and _is_long_on_servers(item):
            item.add_marker(pytest.mark.long)


def _is_long_on_servers(item: pytest.Item) -> bool:
    if item.path.name == "test_load.py":
        return getattr(item, "originalname", "") not in LOADS_ON_SERVERS
    return item.path.name in SAME_OVER_EVERY_STORE | SHOWN_ELSEWHERE_ON_SERVERS


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to a failed test's report the last log lines of every mesh that the test uses."""
    report = yield
    if report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            if isinstance(value, Mesh):
                report.sections.append((f"logs of {name}", value.logs()))
    return report


@pytest.fixture(scope="session", params=["embedded", pytest.param("stack", marks=pytest.mark.servers)])
def backend(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """Return the back-end options of `hitmesh dev`.

    Every test in this directory must pass on files and on real servers.
    """
    if request.param == "embedded":
        return ()
    servers.running()
    return ("--backend", "stack", "--stack-home", str(servers.HOME))


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory, backend: tuple[str, ...]) -> Iterator[Mesh]:
    """Return the mesh that most tests share; each test uses separate sites."""
    yield from running_mesh(Mesh(tmp_path_factory.mktemp("shared-mesh") / "home", backend=backend))


@pytest.fixture(scope="module")
def closed_mesh(tmp_path_factory: pytest.TempPathFactory, backend: tuple[str, ...]) -> Iterator[Mesh]:
    """Return a mesh for a single module, whose callers need a key for reports, as in production."""
    options = ("--no-demo-data", "--closed-reads")
    yield from running_mesh(Mesh(tmp_path_factory.mktemp("closed-mesh") / "home", options, backend))


@pytest.fixture(scope="module")
def own_mesh(tmp_path_factory: pytest.TempPathFactory, backend: tuple[str, ...]) -> Iterator[Mesh]:
    """Return a mesh for a single module. The module may stop, kill and start the mesh."""
    yield from running_mesh(Mesh(tmp_path_factory.mktemp("own-mesh") / "home", backend=backend))


@pytest.fixture
def idle_mesh(tmp_path: Path, backend: tuple[str, ...]) -> Iterator[Mesh]:
    """Return a mesh that is not started yet. Processes of the mesh that still run at the end of the test are killed."""
    mesh = Mesh(tmp_path / "home", backend=backend)
    yield mesh
    if mesh.process is not None and mesh.process.poll() is None:
        mesh.kill_everything()
    mesh.drop_from_servers()


def running_mesh(mesh: Mesh) -> Iterator[Mesh]:
    """Start a mesh and finally stop it. If the tests have passed, the mesh's exit code must be 0."""
    try:
        mesh.start()
        yield mesh
        assert mesh.stop() == 0, mesh.logs()
    finally:
        if mesh.process is not None and mesh.process.poll() is None:
            mesh.kill_everything()
        mesh.drop_from_servers()


@pytest.fixture(scope="session")
def new_site(mesh: Mesh) -> NewSite:
    """Create a site of merchant demo with a unique name and return its full name."""
    return site_maker(mesh)


def site_maker(mesh: Mesh) -> NewSite:
    """Return a function that creates a site of merchant demo with a unique name and returns its full name."""
    numbers = itertools.count(1)

    def make(stem: str, currency: str = "USD", time_zone: str = "UTC") -> str:
        request = admin_pb2.CreateSiteRequest(
            parent="merchants/demo",
            site_id=f"{stem}-{next(numbers)}",
            site=admin_pb2.Site(currency=currency, time_zone=time_zone),
        )
        return mesh.admin().CreateSite(request, metadata=authorized(mesh.key), timeout=60).site.name

    return make


@pytest.fixture(scope="session")
def access_log() -> Path:
    """Ten thousand requests to a real web site."""
    return _shared("access.log")


@pytest.fixture(scope="session")
def shop_csv() -> Path:
    """Seventeen thousand events from a real shop."""
    return _shared("shop-2019-10.csv")


def _shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is not here: the real input is not part of the repository")
    return path
