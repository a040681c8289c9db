"""Processes that outlive the command that started them: spawn, recognise, stop.

Decides when a process is the noted process: pid and start tick must match, so that another program with a reused pid is
never taken for a server, nor killed.
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

_PROC: Final = Path("/proc")
_POLL_S: Final = 0.05
_DEAD: Final = ("Z", "X")


@dataclass(frozen=True, slots=True)
class Note:
    """Identity of a server's process, and the digest of the server's command and files at the start."""

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
    """Return the note by which a process that was just spawned is recognised later."""
    fields = _stat_of(pid)
    return Note(pid, int(fields[19]) if fields else 0, digest)


def write(file: Path, noted: Note) -> None:
    """Write a note atomically."""
    temporary = file.with_name(f".{file.name}.new")
    temporary.write_text(json.dumps(asdict(noted)), encoding="utf-8")
    temporary.replace(file)


def read(file: Path) -> Note | None:
    """Return the note of a process that still runs; None otherwise."""
    try:
        noted = Note(**json.loads(file.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return noted if is_alive(noted) else None


def is_alive(noted: Note) -> bool:
    """Return whether the noted process still runs; a child that has ended is reaped first."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(noted.pid, os.WNOHANG)
    fields = _stat_of(noted.pid)
    return fields is not None and fields[0] not in _DEAD and int(fields[19]) == noted.started_tick


def stop(running: Sequence[Note], timeout_s: float) -> list[Note]:
    """Terminate processes, all at once; kill and return the processes that outlast the timeout."""
    for process in running:
        _signal(process, signal.SIGTERM)
        _signal(process, signal.SIGCONT)  # a stopped process does not handle SIGTERM
    hanging = _wait_gone(running, timeout_s)
    for process in hanging:
        _signal(process, signal.SIGKILL)
    _wait_gone(hanging, timeout_s)
    return hanging


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process; 0 when the process is gone."""
    try:
        return int((_PROC / str(pid) / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def uptime_s(noted: Note) -> float:
    """Return the seconds since a process started."""
    since_boot_s = float((_PROC / "uptime").read_text().split()[0])
    return max(0.0, since_boot_s - noted.started_tick / os.sysconf("SC_CLK_TCK"))


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


def _stat_of(pid: int) -> list[str] | None:
    """Return the fields of /proc/PID/stat from the state on; the name before the state may contain spaces or ")"."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()
