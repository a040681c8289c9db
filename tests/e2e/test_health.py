"""Test that a service that cannot work gets no calls from Envoy, and that `hitmesh dev` says why. One fault at a time.

The faults: a suspended process, a full disk, a directory that cannot be written, a stuck stream, a panic. The mesh is
on files; `tests/breaking/outages` has the health of a mesh on servers.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.api.hit.v1 import hit_pb2
from tests.e2e.conftest import running_mesh
from tests.support import processes
from tests.support.mesh import Mesh
from tests.support.waiting import eventually

SERVICES = ("collector", "processor", "reporter", "control")
DISK_BYTES = 96 << 20
# The tests suspend services; the mesh must not take these services for hanging.
OPTIONS = ("--no-demo-data", "--hang-after", "900")
NOTICED_S = 30.0


@dataclass
class Watched:
    """A running mesh, with what Envoy, `hitmesh dev` and the services' logs tell about health."""

    mesh: Mesh
    disk: Path | None = None

    def healthy(self, service: str) -> int:
        """Return to how many instances of a service Envoy sends calls."""
        return self.mesh.envoy_stat(f"cluster.{service}.membership_healthy")

    def printed(self, text: str) -> int:
        """Return how many lines of `hitmesh dev` have a text."""
        return sum(text in line for line in self.mesh.output.read_text().splitlines())

    def state(self, service: str) -> Any:
        """Return the state of a service according to `hitmesh dev`."""
        return json.loads((self.mesh.home / "run" / "health.json").read_text())[service]

    def lines(self, service: str, event: str) -> list[Any]:
        """Return the lines of an event in the log of a service."""
        log = (self.mesh.home / "logs" / f"{service}.log").read_text().splitlines()
        return [json.loads(line) for line in log if f'"event": "{event}"' in line]

    def goes(self, service: str, cause: str) -> None:
        """Wait until Envoy sends a service no calls, and `hitmesh dev` has told the cause."""
        eventually(lambda: self.healthy(service) == 0, f"Envoy has taken {service} out", NOTICED_S)
        line = f"{service} is not ready, so it gets no calls: {cause}"
        eventually(lambda: self.printed(line), f"hitmesh dev says {line}", NOTICED_S)
        eventually(lambda: cause in self.state(service).get("cause", ""), "the state has the cause", NOTICED_S)

    def comes_back(self, service: str, times: int) -> None:
        """Wait until Envoy sends a service calls, and `hitmesh dev` has told so for the n-th time."""
        eventually(lambda: self.healthy(service) == 1, f"Envoy has {service} back", NOTICED_S)
        eventually(lambda: self.printed(f"{service} is ready again") == times, "hitmesh dev says so", NOTICED_S)
        eventually(lambda: self.state(service) == {"ready": True}, "the state says so", NOTICED_S)

    def pid(self, service: str) -> int:
        """Return the process id of a service."""
        return next(pid for pid in self.mesh.children() if f"-m {service}" in processes.name_of(pid))


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A mesh that the tests of this module share. For root, its data directory is a small file system."""
    mesh = Mesh(tmp_path_factory.mktemp("watched") / "home", OPTIONS)
    disk = mesh.home / "data"
    disk.mkdir(parents=True)
    is_mounted = mount("-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk))
    try:
        for running in running_mesh(mesh):
            yield Watched(running, disk if is_mounted else None)
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", str(disk)], check=True)


def mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


@pytest.mark.timeout(90)
@pytest.mark.parametrize("service", SERVICES)
def test_a_suspended_service_gets_no_calls_and_is_named(watched: Watched, service: str) -> None:
    before = watched.printed(f"{service} is ready again")
    os.kill(watched.pid(service), signal.SIGSTOP)
    try:
        watched.goes(service, "no health check is answered")
        assert [other for other in SERVICES if watched.healthy(other) == 0] == [service]
    finally:
        os.kill(watched.pid(service), signal.SIGCONT)
    watched.comes_back(service, before + 1)


@pytest.mark.timeout(120)
def test_services_on_a_full_disk_get_no_calls_and_say_why_in_one_line(watched: Watched) -> None:
    disk = the_disk(watched)
    with all_logged(watched, "the disk is full"):
        ballast = fill(disk)
        try:
            for service in SERVICES:
                watched.goes(service, "the data directory: the disk is full")
        finally:
            ballast.unlink()


@pytest.mark.timeout(120)
def test_services_whose_directory_cannot_be_written_get_no_calls_and_live_on(watched: Watched) -> None:
    disk, pids = the_disk(watched), [watched.pid(service) for service in SERVICES]
    with all_logged(watched, "cannot be written (Read-only file system)"):
        # Processes open the same files through a second mount, which is read-only; files that are open stay writable.
        assert mount("--bind", str(disk), str(disk))
        try:
            assert mount("-o", "remount,bind,ro", str(disk))
            for service in SERVICES:
                watched.goes(service, "the data directory: the directory")
        finally:
            subprocess.run(["umount", "--lazy", str(disk)], check=True)
    assert pids == [watched.pid(service) for service in SERVICES], "nobody killed a process because its store was away"


@contextmanager
def all_logged(watched: Watched, cause: str) -> Iterator[None]:
    """Check that every service writes a single log line about a fault, with the cause, and a line when it is over."""
    before = {service: len(watched.lines(service, "not_ready")) for service in SERVICES}
    again = {service: watched.printed(f"{service} is ready again") for service in SERVICES}
    yield
    for service in SERVICES:
        watched.comes_back(service, again[service] + 1)
        (line,) = watched.lines(service, "not_ready")[before[service] :]
        assert cause in " ".join(line["causes"])
        assert line["live"] is True


def the_disk(watched: Watched) -> Path:
    if watched.disk is None:
        pytest.skip("file systems can be mounted by root only")
    return watched.disk


def fill(disk: Path) -> Path:
    """Write a file until the disk is full."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        file.writelines(itertools.repeat(bytes(64 << 10)))
    return ballast


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("fault", "cause"), [("hang", "the stream has not turned for 5 s: its thread is stuck"), ("panic", "Panic")]
)
def test_a_stream_that_is_stuck_or_panics_is_named(tmp_path: Path, fault: str, cause: str) -> None:
    # The first windows have only heartbeats, so that the mesh becomes ready before the fault.
    faults = ("--processor-setting", f"fail_at=raw:6:{fault}", "--processor-setting", "stuck_after_s=5")
    watched = Watched(Mesh(tmp_path / "home", (*OPTIONS, *faults)))
    mesh = watched.mesh
    try:
        mesh.start()
        eventually(lambda: is_noticed_after_a_hit(watched), "the stream has its sixth window", NOTICED_S)
        if fault == "hang":
            watched.goes("processor", cause)
            assert len(watched.lines("processor", "not_ready")) == 1
            assert [service for service in SERVICES if watched.healthy(service) == 0] == ["processor"]
        else:
            assert mesh.wait_stopped() == 1
            assert watched.printed("processor exited with code 1")
            (line,) = watched.lines("processor", "process_failed")
            assert cause in line["cause"]
    finally:
        if mesh.process is not None and mesh.process.poll() is None:
            mesh.kill_everything()


def send(mesh: Mesh) -> None:
    """Send a hit that is refused, because a refusal is a record in the log too."""
    batch = hit_pb2.HitBatch(ingest_key=mesh.key, hits=[hit_pb2.Hit()])
    metadata = (("hitmesh-site", "demo/example"),)
    with suppress(grpc.RpcError):
        mesh.collector().SendHits(collector_pb2.SendHitsRequest(batch=batch), metadata=metadata, timeout=5)
    mesh.close_channels()


def is_noticed_after_a_hit(watched: Watched) -> bool:
    """Send a hit, and return whether the fault has been noticed."""
    send(watched.mesh)
    process = watched.mesh.process
    return process is None or process.poll() is not None or bool(watched.printed("processor is not ready"))
