"""Test the fork server: what a forked process shares, what it has of its own, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from hitmesh.tools.dev import children, instances
from hitmesh.tools.dev.forking import ForkServer, ForkServerEnded
from tests.support import forked_task
from tests.support.processes import is_alive
from tests.support.waiting import eventually

TASK = forked_task.__name__
# Threads that libraries start when they are imported: allocators return memory, and Polars deletes spilled files.
THREADS_OF_IMPORTS = {"jemalloc_bg_thd", "polars-ooc-clea"}


@pytest.fixture(scope="module")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    """Return a fork server that has imported the task and all services."""
    logs = tmp_path_factory.mktemp("forks")
    modules = [TASK, *instances.modules(on_servers=True)]
    with ForkServer(modules, instances.environment({}, os.environ), logs) as forks:
        yield forks


def start(forks: ForkServer, log: Path, *arguments: str, **variables: str) -> children.Child:
    return forks.start("task", TASK, {**os.environ, **variables}, log, arguments)


def facts_of(child: children.Child) -> dict[str, Any]:
    """Wait until the child has printed its facts, and return the facts."""
    facts: dict[str, Any] = json.loads(
        eventually(lambda: "".join(child.last_lines()) or None, "the task prints its facts")
    )
    return facts


def test_a_forked_process_has_not_imported_its_module_and_its_parent_is_the_owner(
    forks: ForkServer, tmp_path: Path
) -> None:
    child = start(forks, tmp_path / "log")
    assert child.process.wait(20) == 7
    facts = facts_of(child)
    assert facts["pid"] == child.process.pid
    assert facts["imported_by"] == forks.child.process.pid
    assert facts["parent"] == os.getpid()
    assert facts["ignores_sigint"]


def test_each_process_has_its_own_environment_arguments_and_output(forks: ForkServer, tmp_path: Path) -> None:
    red = start(forks, tmp_path / "red", "1", COLOUR="red", SHADE="dark")
    blue = start(forks, tmp_path / "blue", "2", "b", COLOUR="blue")
    assert [red.process.wait(20), blue.process.wait(20)] == [7, 7]
    assert [(facts["colour"], facts["shade"], facts["arguments"]) for facts in map(facts_of, (red, blue))] == [
        ("red", "dark", ["1"]),
        ("blue", None, ["2", "b"]),
    ]
    assert facts_of(blue)["argv"] == [TASK, "2", "b"]


def test_a_forked_process_has_no_variable_of_the_fork_server(tmp_path: Path) -> None:
    with ForkServer([TASK], {**os.environ, "COLOUR": "red"}, tmp_path) as forks:
        child = start(forks, tmp_path / "log", SHADE="dark")
        assert child.process.wait(20) == 7
        facts = facts_of(child)
    assert (facts["colour"], facts["shade"]) == (None, "dark")


def test_the_command_line_and_name_of_a_process_are_those_of_its_module(forks: ForkServer, tmp_path: Path) -> None:
    child = start(forks, tmp_path / "log", "wait")
    facts_of(child)
    process = psutil.Process(child.process.pid)
    assert process.cmdline()[:4] == [sys.executable, "-m", TASK, "wait"]
    assert process.name() == "task"
    child.process.kill()
    assert child.process.wait(20) == -signal.SIGKILL


def test_a_process_that_a_signal_ends_is_noticed_with_the_number(forks: ForkServer, tmp_path: Path) -> None:
    child = start(forks, tmp_path / "log", "wait")
    facts_of(child)
    assert child.process.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        child.process.wait(0.01)
    os.kill(child.process.pid, signal.SIGKILL)
    assert children.wait_any([child], 20) is child
    assert child.process.returncode == -signal.SIGKILL
    child.process.send_signal(signal.SIGTERM)  # a process that has ended gets no signal


def test_a_module_that_cannot_be_imported_is_named_in_the_log_of_its_process(forks: ForkServer, tmp_path: Path) -> None:
    child = forks.start("absent", "tests.support.absent", os.environ, tmp_path / "log")
    assert child.process.wait(20) == 1
    assert child.last_lines()[-1] == "ModuleNotFoundError: No module named 'tests.support.absent'"


def test_a_run_returns_the_exit_code(forks: ForkServer, capfd: pytest.CaptureFixture[str]) -> None:
    with capfd.disabled():
        assert forks.run(TASK, ["x"], shown=False) == 7


def test_the_fork_server_has_only_threads_that_imports_start(forks: ForkServer, tmp_path: Path) -> None:
    assert start(forks, tmp_path / "log").process.wait(20) == 7  # all modules are imported
    server = Path(f"/proc/{forks.child.process.pid}/task")
    names = [(task / "comm").read_text().strip() for task in server.iterdir() if task.name != server.parent.name]
    assert set(names) <= THREADS_OF_IMPORTS


def test_processes_die_with_their_owner(tmp_path: Path) -> None:
    owner = (
        "import os, sys; from pathlib import Path; from hitmesh.tools.dev.forking import ForkServer;"
        f"forks = ForkServer([], os.environ, Path(sys.argv[1])); log = Path(sys.argv[1], 'log');"
        f"child = forks.start('orphan', '{TASK}', os.environ, log, ['wait'])\n"
        "while not child.last_lines(): pass\n"
        "print(child.process.pid, forks.child.process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", owner, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    pids = [int(pid) for pid in done.stdout.split()]
    eventually(lambda: not any(map(is_alive, pids)), "the process and the fork server have ended")


def test_a_fork_server_that_died_is_named_and_its_processes_go_on(tmp_path: Path) -> None:
    with ForkServer([TASK], os.environ, tmp_path) as forks:
        child = start(forks, tmp_path / "log", "wait")
        facts_of(child)
        forks.child.process.kill()
        with pytest.raises(ForkServerEnded, match="fork-server exited with code -9"):
            start(forks, tmp_path / "log")
        assert child.process.poll() is None
        children.stop([child])
        assert child.process.returncode == -signal.SIGTERM


def test_a_late_answer_is_neither_taken_for_the_next_nor_starts_a_process(tmp_path: Path) -> None:
    with ForkServer([TASK], os.environ, tmp_path, answer_s=0.2) as forks:
        server = forks.child.process
        server.send_signal(signal.SIGSTOP)
        with pytest.raises(ForkServerEnded, match=r"has not answered for 0\.2 s"):
            start(forks, tmp_path / "late")
        with pytest.raises(ForkServerEnded, match="cannot be asked"):
            start(forks, tmp_path / "next")
        server.send_signal(signal.SIGCONT)
        assert server.wait(60) != 0, "nobody takes the answer"
    assert ((tmp_path / "late").read_text(), (tmp_path / "next").read_text()) == ("", "")


def test_environments_of_a_mesh_differ_only_in_settings_of_hitmesh() -> None:
    """A library reads its variables when it is imported, which is once for all processes."""
    inherited = {"PATH": "/bin", "HITMESH_HOME": "/x", "POLARS_MAX_THREADS": "7"}
    shared = instances.environment({}, inherited)
    control = instances.environment({"HITMESH_CONTROL_NODE": "a"}, inherited)
    assert {key for key, _ in shared.items() ^ control.items()} == {"HITMESH_CONTROL_NODE"}
    assert shared["POLARS_MAX_THREADS"] == "2"
    assert "HITMESH_HOME" not in shared
