"""Spawns, recognises and stops processes that keep running after the command that started them.

A process is recognised by its pid and start time (in clock ticks). Another program with a reused pid is therefore never
mistaken for a server or killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import psutil

_POLL_S: Final = 0.05
_DEAD: Final = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Note:
    """The identity of a server's process, and the digest of the command and files that started the process."""

    pid: int
    started_tick: int
    digest: str


def spawn(command: Sequence[str], environment: Mapping[str, str], log: Path, folder: Path) -> int:
    """Start a process in its own session, with output to `log`, and return its pid without waiting for the process."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    empty = os.open(os.devnull, os.O_RDONLY)
    try:
        return os.posix_spawn(
            "/bin/sh",
            ["sh", "-c", 'cd "$0" && exec "$@"', str(folder), *command],
            dict(environment),
            file_actions=[
                (os.POSIX_SPAWN_DUP2, empty, 0),
                *((os.POSIX_SPAWN_DUP2, output, number) for number in (1, 2)),
            ],
            setsid=True,
        )
    finally:
        os.close(output)
        os.close(empty)


def note(pid: int, digest: str) -> Note:
    """Return a note about a process that was just spawned. Later, the process can be recognised by the note."""
    try:
        started_tick = _started_tick(psutil.Process(pid))
    except psutil.NoSuchProcess:
        started_tick = 0
    return Note(pid, started_tick, digest)


def write(file: Path, noted: Note) -> None:
    """Write a note atomically."""
    temporary = file.with_name(f".{file.name}.new")
    temporary.write_text(json.dumps(asdict(noted)), encoding="utf-8")
    temporary.replace(file)


def read(file: Path) -> Note | None:
    """Return the note in a file, or None if the process in the note no longer runs."""
    try:
        noted = Note(**json.loads(file.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return noted if is_alive(noted) else None


def is_alive(noted: Note) -> bool:
    """Return whether the process in the note still runs.

    If the process is a child that has ended, the function reaps the child first.
    """
    with contextlib.suppress(ChildProcessError):
        os.waitpid(noted.pid, os.WNOHANG)
    try:
        found = psutil.Process(noted.pid)
        return found.status() not in _DEAD and _started_tick(found) == noted.started_tick
    except psutil.NoSuchProcess:
        return False


def stop(running: Sequence[Note], timeout_s: float) -> list[Note]:
    """Terminate all processes at once.

    Processes that still run after the timeout are killed and returned.
    """
    for process in running:
        _signal(process, signal.SIGTERM)
        _signal(process, signal.SIGCONT)  # a suspended process (SIGSTOP) cannot handle SIGTERM until SIGCONT resumes it
    hanging = _wait_gone(running, timeout_s)
    for process in hanging:
        _signal(process, signal.SIGKILL)
    _wait_gone(hanging, timeout_s)
    return hanging


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process in bytes; 0 if the process has ended."""
    try:
        return psutil.Process(pid).memory_info().rss
    except psutil.NoSuchProcess:
        return 0


def uptime_s(noted: Note) -> float:
    """Return the seconds since a process started."""
    since_boot_s = time.clock_gettime(time.CLOCK_BOOTTIME)
    return max(0.0, since_boot_s - noted.started_tick / _TICKS_A_SECOND)


def _wait_gone(running: Sequence[Note], timeout_s: float) -> list[Note]:
    deadline = time.monotonic() + timeout_s
    left = [process for process in running if is_alive(process)]
    while left and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        left = [process for process in left if is_alive(process)]
    return left


def _signal(noted: Note, number: signal.Signals) -> None:
    if is_alive(noted):
        with contextlib.suppress(ProcessLookupError):
            os.kill(noted.pid, number)


def _started_tick(process: psutil.Process) -> int:
    """Return the start time of a process in clock ticks since the boot.

    psutil's start time includes the time of the boot, which changes when the clock is set. A process's start time in
    ticks since the boot never changes.
    """
    booted_s = psutil.boot_time()
    return round((process.create_time() - booted_s) * _TICKS_A_SECOND)
