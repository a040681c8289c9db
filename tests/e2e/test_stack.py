"""Test `hitmesh stack`, as an operator uses it: start, inspect, restart and stop the servers."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hitmesh.tools.stack import commands
from hitmesh.tools.stack.servers import names_of
from tests.support import processes
from tests.support.mesh import Finished, run_command

pytestmark = pytest.mark.servers
UP_S = 300.0
NOT_HEALTHY = 7
NAME = "kept"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Return a home. At the end of the test, all servers of this home are stopped in any case."""
    place = tmp_path / "home"
    yield place
    processes.kill_at_once(list(commands.processes(place).values()))


def stack(home: Path, command: str, *arguments: str) -> Finished:
    return run_command(["stack", command, *arguments, "--home", str(home)], UP_S)


def status(home: Path, code: int) -> dict[str, dict[str, Any]]:
    done = stack(home, "status", "-o", "json")
    assert done.code == code, done.err
    return {server["name"]: server for server in json.loads(done.out)["servers"]}


def init(store: str, *arguments: str) -> Finished:
    return run_command(["init", "--backend", f"{store}&name={NAME}", *arguments], UP_S)


@pytest.mark.long  # the test starts all servers three times; every run of `make test` starts and stops them once
@pytest.mark.timeout(600)
def test_servers_start_from_scratch_keep_their_data_and_move_off_a_port_in_use(home: Path) -> None:
    assert {server["state"] for server in status(home, NOT_HEALTHY).values()} == {"down"}
    store = up(home)
    seen = status(home, 0)
    assert set(seen) == set(names_of())
    assert all(server["is_healthy"] and server["resident_bytes"] > 10 << 20 for server in seen.values())
    assert "already running" in stack(home, "up").err
    assert init(store, "--check").code == NOT_HEALTHY, "a new mesh differs in everything"
    made = init(store, "--yes")
    assert made.code == 0, made.err
    assert made.out.count("bootstrap token: hmb_") == 1, "the mesh has no operator"

    os.kill(seen["historical"]["pid"], signal.SIGKILL)
    assert down(home) == [name for name in names_of() if name != "historical"]
    assert not any(processes.is_alive(server["pid"]) for server in seen.values())

    with socket.create_server(("127.0.0.1", seen["broker"]["port"])):
        done = stack(home, "up")
        assert done.code == 0, done.err
        assert f"port {seen['broker']['port']} of broker is taken by process {os.getpid()}" in done.err
        again = status(home, 0)
    moved = {name for name in names_of() if again[name]["port"] != seen[name]["port"]}
    assert moved == {"broker"}
    checked = init(done.out.strip(), "--check")
    assert checked.code == 0, checked.out
    assert "hmb_" not in checked.out, "--check changes nothing, so it makes no token"
    assert "INFO" in stack(home, "logs", "cassandra", "-n", "500").out
    down(home)
    assert stack(home, "down").code == 0
    assert commands.processes(home) == {}


def up(home: Path) -> str:
    done = stack(home, "up")
    assert done.code == 0, done.err
    return done.out.strip()


def down(home: Path) -> list[str]:
    """Stop the servers. Return the names of the stopped servers in the order of their start."""
    done = stack(home, "down")
    assert done.code == 0, done.err
    assert "killed" not in done.err
    return [name for name in names_of() if any(line.split() == [name, "stopped"] for line in done.err.splitlines())]


@pytest.mark.timeout(300)
def test_a_server_that_fails_to_start_exits_with_4_the_end_of_its_log_and_a_remedy(home: Path) -> None:
    broken = home / "stack" / "data"
    broken.mkdir(parents=True)
    (broken / "kafka").mkdir()
    (broken / "kafka" / "meta.properties").write_text("version=1\ncluster.id=other\nnode.id=9\n")
    done = stack(home, "up")
    assert done.code == 4
    assert "kafka exited during the start; the end of its log" in done.err
    assert "Stored node id 9" in done.err
    assert "remove " in done.err
    down(home)
