"""Test `hitmesh dev` from outside: its start time, memory, output and end."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path

import pytest

from hitmesh.tools.stack.servers import names_of
from tests.support import processes
from tests.support.mesh import Mesh, environment, run_command
from tests.support.patience import patient
from tests.support.waiting import eventually

# Shared memory pages count once. The kernel decides in which processes the pages of a library are resident.
MEMORY_BYTES = 650 << 20
CANNOT_START = 4


@pytest.mark.timeout(180)
def test_an_empty_mesh_becomes_ready_in_less_than_650_mib_and_stops_cleanly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size, text = _measured_start(Mesh(tmp_path / "home"))
    assert size < MEMORY_BYTES, text
    with capsys.disabled():
        print(f"\nmesh: {text}")  # noqa: T201 - a documented number, seen on every run


def _measured_start(mesh: Mesh) -> tuple[int, str]:
    """Start and stop a mesh.

    Return the memory of all processes in bytes, and a text with the memory and the start time.
    """
    began = time.monotonic()
    mesh.start()
    took_s = time.monotonic() - began
    pids = [mesh.pid, *mesh.children()]
    sizes = [processes.proportional_bytes(pid) for pid in pids]
    resident = sum(processes.resident_bytes(pid) for pid in pids)
    assert len(pids) == 7, "the launcher, its fork server, Envoy, collector, processor, reporter, control"
    assert mesh.stop() == 0
    mesh.wait_gone(pids)
    mebibytes = " + ".join(f"{size >> 20}" for size in sizes)
    text = f"ready in {took_s:.1f} s, {sum(sizes) >> 20} MiB ({mebibytes})"
    return sum(sizes), f"{text}, {resident >> 20} MiB if shared pages count in each process"


@pytest.mark.timeout(60)
def test_the_ready_file_appears_whole_is_valid_and_goes_away(idle_mesh: Mesh, tmp_path: Path) -> None:
    mesh = idle_mesh
    elsewhere = tmp_path / "deep" / "ready.json"
    elsewhere.parent.mkdir()
    elsewhere.write_text("left over")
    mesh.options = ("--no-demo-data", "--ready-file", str(elsewhere))
    mesh.launch()
    eventually(lambda: not elsewhere.exists(), "the old ready file is removed before the start")
    text = eventually(lambda: elsewhere.read_text() if elsewhere.exists() else None, "the mesh is ready", 30)
    ready = json.loads(text)
    servers = set(names_of()) if mesh.backend else set()
    assert set(ready) == {"http", "grpc", "operators", "pid", "metrics"} | ({"servers"} if servers else set())
    assert set(ready.get("servers", ())) == servers
    assert ready["pid"] == mesh.pid
    assert ready["http"] == f"http://{ready['grpc']}"
    assert mesh.run("sites", "-o", "json").out == "[]\n", "commands find the mesh by its home all the same"
    assert mesh.stop() == 0
    assert not elsewhere.exists()
    assert not mesh.ready_file.exists()


@pytest.mark.timeout(60)
def test_the_first_start_writes_keys_that_only_their_owner_reads(mesh: Mesh) -> None:
    for key in (mesh.home / "keys" / name for name in ("dev-server", "dev-operator")):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert len(key.read_text()) > 30


@pytest.mark.timeout(60)
def test_killing_the_launcher_leaves_no_process(idle_mesh: Mesh) -> None:
    mesh = idle_mesh
    mesh.start()
    pids = [mesh.pid, *mesh.children()]
    os.kill(mesh.pid, signal.SIGKILL)
    assert mesh.process is not None
    mesh.process.wait(patient(5))
    mesh.wait_gone(pids)


@pytest.mark.timeout(60)
def test_ctrl_c_which_reaches_every_process_of_the_group_is_a_clean_stop(idle_mesh: Mesh) -> None:
    mesh = idle_mesh
    mesh.start()
    pids = [mesh.pid, *mesh.children()]
    assert {os.getpgid(pid) for pid in pids} == {mesh.pid}
    os.killpg(mesh.pid, signal.SIGINT)
    assert mesh.wait_stopped() == 0
    mesh.wait_gone(pids)
    assert not mesh.ready_file.exists()


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("module", "name"), [("processor", "processor"), ("hitmesh.tools.dev.fork_server", "fork-server")]
)
def test_a_process_that_dies_stops_the_mesh_and_is_named_in_the_output(idle_mesh: Mesh, module: str, name: str) -> None:
    mesh = idle_mesh
    mesh.start()
    pids = [mesh.pid, *mesh.children()]
    victim = next(pid for pid in pids if f"-m {module}" in processes.name_of(pid))
    os.kill(victim, signal.SIGKILL)
    assert mesh.process is not None
    assert mesh.process.wait(patient(20)) == 1
    mesh.wait_gone(pids)
    assert f"{name} exited" in mesh.output.read_text()
    assert not mesh.ready_file.exists()


@pytest.mark.timeout(180)
def test_a_service_that_hangs_is_named_and_started_again(idle_mesh: Mesh) -> None:
    mesh = idle_mesh
    mesh.options = ("--no-demo-data", "--hang-after", "1")
    mesh.start()
    reporter = next(pid for pid in mesh.children() if "-m reporter" in processes.name_of(pid))
    os.kill(reporter, signal.SIGSTOP)
    eventually(lambda: "killing the process" in mesh.output.read_text(), "the mesh says that a service hangs", 60)
    assert "reporter has answered no health check for 1 s" in mesh.output.read_text()
    mesh.wait_gone([reporter])
    eventually(lambda: mesh.run("sites", "-o", "json").code == 0, "reports are answered again", 60)
    assert mesh.stop() == 0


@pytest.mark.timeout(120)
def test_meshes_that_start_at_the_same_time_have_a_port_each(tmp_path: Path) -> None:
    """Two meshes that start together may both choose the same free port at first.

    In the end, each mesh must have a port of its own.
    """
    meshes = [Mesh(tmp_path / name / "home") for name in ("first", "second")]
    for mesh in meshes:
        mesh.home.parent.mkdir()
    try:
        for mesh in meshes:
            mesh.launch()
        for mesh in meshes:
            mesh.wait_ready()
        assert len({mesh.url for mesh in meshes}) == len(meshes)
        for mesh in meshes:
            mesh.cli("send", "page", "/own-key", "--site", "demo/example")
        assert [mesh.stop() for mesh in meshes] == [0, 0]
    finally:
        for mesh in meshes:
            if mesh.process is not None and mesh.process.poll() is None:
                mesh.kill_everything()


@pytest.mark.timeout(60)
def test_a_busy_port_ends_with_4_and_names_who_holds_it(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = run_command(["dev", "--home", str(tmp_path / "home"), "--no-demo-data", "--port", port])
    assert done.code == CANNOT_START
    assert port in done.err
    assert str(os.getpid()) in done.err


@pytest.mark.timeout(60)
def test_a_second_mesh_on_the_same_home_ends_with_4_and_harms_nothing(mesh: Mesh) -> None:
    done = run_command(["dev", "--home", str(mesh.home), "--no-demo-data"])
    assert done.code == CANNOT_START
    assert str(mesh.pid) in done.err
    assert mesh.ready_file.exists()
    assert mesh.cli("sites", "-o", "json")


@pytest.mark.timeout(180)
def test_demo_data_is_there_by_default_and_the_lines_of_the_banner_work_when_pasted(idle_mesh: Mesh) -> None:
    mesh = idle_mesh
    mesh.options = ()
    mesh.launch()
    eventually(mesh.ready_file.exists, "the mesh with its demo data is ready", 90)
    banner = eventually(lambda: text if "Try:" in (text := mesh.output.read_text()) else None, "the banner is printed")
    pasted = banner[banner.index("Try:") :].removeprefix("Try:").splitlines()[:4]
    for line in pasted:
        done = subprocess.run(
            ["bash", "-c", line], env=environment(), capture_output=True, text=True, timeout=patient(60), check=False
        )
        assert done.returncode == 0, f"{line}: {done.stderr}"
        assert done.stdout.strip(), line
    out = mesh.cli(
        "query",
        "--site",
        "demo/example",
        "--metrics",
        "visits,orders,hits",
        "--last",
        "30d",
        "--grain",
        "day",
        "-o",
        "csv",
    )
    days = list(csv.DictReader(io.StringIO(out)))
    assert len(days) == 30
    assert sum(int(day["visits"]) > 0 for day in days) >= 27  # late hits join visits only at settlement
    assert sum(int(day["orders"]) for day in days) > 0
    assert all(int(day["hits"]) > 0 for day in days[:-1]), "the shop ends now"
    assert mesh.stop() == 0
