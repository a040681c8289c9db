"""Look at processes: which belong to a mesh, which are alive, how large they are."""

from __future__ import annotations

import contextlib
import os
import signal

import psutil

_DEAD = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


def descendants(root: int) -> list[int]:
    """Return the pids of all descendants of a process."""
    try:
        return [process.pid for process in psutil.Process(root).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def is_alive(pid: int) -> bool:
    """Return whether a process exists and is not a zombie (a zombie may have no parent to reap it)."""
    try:
        return psutil.Process(pid).status() not in _DEAD
    except psutil.NoSuchProcess:
        return False


def kill_at_once(pids: list[int]) -> None:
    """Send SIGKILL to all processes; ignore processes that have already ended."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def resident_bytes(pid: int) -> int:
    """Return a process's resident memory, shared pages included."""
    return psutil.Process(pid).memory_info().rss


def proportional_bytes(pid: int) -> int:
    """Return a process's resident memory, in which each shared page is divided by the number of its processes (PSS)."""
    return int(psutil.Process(pid).memory_full_info().pss)


def name_of(pid: int) -> str:
    """Return a process's command line, for people."""
    return " ".join(psutil.Process(pid).cmdline())[:100]
