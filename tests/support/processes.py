"""Look at processes through /proc: which belong to a mesh, which are alive, how large they are."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

_PROC = Path("/proc")


def descendants(root: int) -> list[int]:
    """Return the pids of all descendants of a process."""
    parents = {pid: parent for pid in _pids() if (parent := _parent_of(pid)) is not None}
    found: list[int] = []
    front = {root}
    while front:
        front = {pid for pid, parent in parents.items() if parent in front}
        found += sorted(front)
    return found


def is_alive(pid: int) -> bool:
    """Return whether a process exists and is not a zombie."""
    fields = _stat_of(pid)
    return fields is not None and fields[0] not in ("Z", "X")


def kill_at_once(pids: list[int]) -> None:
    """Send SIGKILL to all processes; ignore processes that have already ended."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def resident_bytes(pid: int) -> int:
    """Return a process's resident memory, shared pages included."""
    pages = int((_PROC / str(pid) / "statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def name_of(pid: int) -> str:
    """Return a process's command line, for people."""
    return (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:100]


def _pids() -> list[int]:
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]


def _parent_of(pid: int) -> int | None:
    fields = _stat_of(pid)
    return int(fields[1]) if fields else None


def _stat_of(pid: int) -> list[str] | None:
    """Return the fields in /proc/PID/stat after the process name (from the state on): the name may contain anything."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()
