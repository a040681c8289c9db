"""Fixtures of the end-to-end tests: one mesh for all of them, others where a test must stop or kill one."""

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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds the ends of the logs of every mesh in a failed test to its report."""
    report = yield
    if report.failed:
        for name, value in getattr(item, "funcargs", {}).items():
            if isinstance(value, Mesh):
                report.sections.append((f"logs of {name}", value.logs()))
    return report


@pytest.fixture(scope="session", params=["embedded", pytest.param("stack", marks=pytest.mark.servers)])
def backend(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """The options that name the back end: every test here holds on files and on real servers."""
    if request.param == "embedded":
        return ()
    servers.running()
    return ("--backend", "stack", "--stack-home", str(servers.HOME))


@pytest.fixture(scope="session")
def mesh(tmp_path_factory: pytest.TempPathFactory, backend: tuple[str, ...]) -> Iterator[Mesh]:
    """The mesh that most tests share; each uses sites of its own."""
    yield from running_mesh(Mesh(tmp_path_factory.mktemp("shared-mesh") / "home", backend=backend))


@pytest.fixture(scope="module")
def own_mesh(tmp_path_factory: pytest.TempPathFactory, backend: tuple[str, ...]) -> Iterator[Mesh]:
    """A mesh of one module, which may stop, kill and start it."""
    yield from running_mesh(Mesh(tmp_path_factory.mktemp("own-mesh") / "home", backend=backend))


@pytest.fixture
def idle_mesh(tmp_path: Path, backend: tuple[str, ...]) -> Iterator[Mesh]:
    """A mesh that is not started yet; what still runs at the end is killed."""
    one = Mesh(tmp_path / "home", backend=backend)
    yield one
    if one.process is not None and one.process.poll() is None:
        one.kill_everything()
    one.drop_from_servers()


def running_mesh(one: Mesh) -> Iterator[Mesh]:
    """Starts a mesh, and stops it in the end: with exit code 0 when the tests passed."""
    try:
        one.start()
        yield one
        assert one.stop() == 0, one.logs()
    finally:
        if one.process is not None and one.process.poll() is None:
            one.kill_everything()
        one.drop_from_servers()


@pytest.fixture(scope="session")
def new_site(mesh: Mesh) -> NewSite:
    """Makes a site of merchant demo with a name of its own; returns its full name."""
    return site_maker(mesh)


def site_maker(mesh: Mesh) -> NewSite:
    """Returns a function that makes a site of merchant demo with a name of its own and returns its full name."""
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
    """Ten thousand requests of a real web site."""
    return _shared("access.log")


@pytest.fixture(scope="session")
def shop_csv() -> Path:
    """Seventeen thousand events of a real shop."""
    return _shared("shop-2019-10.csv")


def _shared(name: str) -> Path:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is not here: the real input is not part of the repository")
    return path
