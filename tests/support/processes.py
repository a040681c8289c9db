"""Looking at processes from the outside, through /proc: who belongs to a mesh, who still lives, how large they are."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

_PROC = Path("/proc")


def descendants(root: int) -> list[int]:
    """Returns the pids of all children of a process and of their children."""
    parents = {pid: parent for pid in _pids() if (parent := _parent_of(pid)) is not None}
    found: list[int] = []
    front = {root}
    while front:
        front = {pid for pid, parent in parents.items() if parent in front}
        found += sorted(front)
    return found


def is_alive(pid: int) -> bool:
    """Returns whether a process exists and is not a zombie."""
    fields = _stat_of(pid)
    return fields is not None and fields[0] not in ("Z", "X")


def kill_at_once(pids: list[int]) -> None:
    """Sends SIGKILL to all of them; one that is gone already is no error."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def resident_bytes(pid: int) -> int:
    """Returns the resident memory of a process, shared pages included."""
    pages = int((_PROC / str(pid) / "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def name_of(pid: int) -> str:
    """Returns the command line of a process, for people."""
    return (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:100]


def _pids() -> list[int]:
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]


def _parent_of(pid: int) -> int | None:
    fields = _stat_of(pid)
    return int(fields[1]) if fields else None


def _stat_of(pid: int) -> list[str] | None:
    """Returns the fields of /proc/PID/stat from the state on: the name before it may hold anything."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()
