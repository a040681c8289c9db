"""Test how commands find and stop processes that outlive the command that started them.

A later command finds the surviving process, stops it, and kills it if it hangs. If another process has got the same
process id, the command leaves the other process alone.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from hitmesh.tools.stack import processes
from hitmesh.tools.stack.launcher import last_lines, obituary
from hitmesh.tools.stack.layout import StackHome
from hitmesh.tools.stack.processes import Note
from tests.support.waiting import eventually

SLEEPS = ("/bin/sleep", "60")
# A process that ignores SIGTERM. The process prints a line when it has begun to ignore SIGTERM.
DEAF = ("/bin/sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 0.05; done")


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[Note]]:
    notes: list[Note] = []
    yield notes
    for note in notes:
        if processes.is_alive(note):
            os.killpg(note.pid, signal.SIGKILL)
            eventually(partial(_is_gone, note), "it is dead")


def _is_gone(noted: Note) -> bool:
    return not processes.is_alive(noted)


def spawn(started: list[Note], folder: Path, command: tuple[str, ...]) -> Note:
    pid = processes.spawn(command, {"WHERE": "here"}, folder / "log", folder)
    started.append(processes.note(pid, "d1"))
    return started[-1]


def test_a_spawned_process_has_a_session_its_folder_its_environment_and_a_log(
    tmp_path: Path, started: list[Note]
) -> None:
    noted = spawn(started, tmp_path, ("/bin/sh", "-c", "pwd; echo $WHERE >&2; exec sleep 60"))
    assert os.getsid(noted.pid) == noted.pid
    eventually(lambda: (tmp_path / "log").read_text() == f"{tmp_path}\nhere\n", "it writes to its log")
    assert processes.resident_bytes(noted.pid) > 0
    assert 0 <= processes.uptime_s(noted) < 20


def test_a_note_is_read_as_long_as_the_process_runs(tmp_path: Path, started: list[Note]) -> None:
    noted, file = spawn(started, tmp_path, SLEEPS), tmp_path / "one.json"
    assert processes.read(file) is None
    processes.write(file, noted)
    assert processes.read(file) == noted
    os.kill(noted.pid, signal.SIGKILL)
    eventually(lambda: processes.read(file) is None, "it is dead, and no zombie is taken for alive")


def test_another_process_with_the_pid_is_neither_taken_for_it_nor_stopped(tmp_path: Path, started: list[Note]) -> None:
    noted = spawn(started, tmp_path, SLEEPS)
    earlier = replace(noted, started_tick=noted.started_tick - 1)
    assert not processes.is_alive(earlier)
    assert processes.stop([earlier], 5) == []
    assert processes.is_alive(noted)


@pytest.mark.parametrize("is_asleep", [False, True])
def test_a_process_ends_on_request_even_when_it_is_suspended(
    is_asleep: bool, tmp_path: Path, started: list[Note]
) -> None:
    noted = spawn(started, tmp_path, SLEEPS)
    if is_asleep:
        os.kill(noted.pid, signal.SIGSTOP)
    assert processes.stop([noted], 5) == []
    assert not processes.is_alive(noted)


def test_a_process_that_does_not_end_in_time_is_killed(tmp_path: Path, started: list[Note]) -> None:
    noted, other = spawn(started, tmp_path, DEAF), spawn(started, tmp_path, SLEEPS)
    eventually(lambda: "deaf" in (tmp_path / "log").read_text(), "it ignores the signal")
    assert processes.stop([noted, other], 0.5) == [noted]
    assert not processes.is_alive(noted)


@pytest.mark.parametrize(
    ("line", "cure"),
    [
        ("java.net.BindException: Address already in use", "another program took the port"),
        ("There is insufficient memory for the Java Runtime", "too little memory"),
        ("java.io.IOException: No space left on device", "the disk is full"),
        ("Commit log is broken", "this deletes the data"),
    ],
)
def test_a_server_that_does_not_start_is_described_with_the_end_of_its_log_and_a_remedy(
    line: str, cure: str, tmp_path: Path
) -> None:
    home = StackHome(tmp_path)
    home.prepare()
    frames = "\tat org.apache.Server.start(Server.java:1)\n" * 30
    home.log("cassandra").write_text("".join(f"line {number}\n" for number in range(50)) + f"{line}\n{frames}")
    message = obituary("cassandra", "exited during the start", home)
    assert message.startswith("cassandra exited during the start")
    assert "line 49" in message
    assert "line 10" not in message
    assert line in message
    assert "Server.java" not in message
    assert cure in message.splitlines()[-1]


def test_a_log_that_is_not_there_has_no_lines(tmp_path: Path) -> None:
    assert last_lines(tmp_path / "none.log", 5) == []
