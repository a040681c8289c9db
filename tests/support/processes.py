"""Find a mesh's processes. Determine which processes are alive, and how much memory they use."""

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
    """Return whether a process exists and is not a zombie.

    (A process whose parent does not reap it remains a zombie.)
    """
    try:
        return psutil.Process(pid).status() not in _DEAD
    except psutil.NoSuchProcess:
        return False


def kill_at_once(pids: list[int]) -> None:
    """Send SIGKILL to all processes. Ignore processes that have already ended."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def resident_bytes(pid: int) -> int:
    """Return a process's resident memory in bytes, including shared pages."""
    return psutil.Process(pid).memory_info().rss


def proportional_bytes(pid: int) -> int:
    """Return a process's proportional set size (PSS) in bytes. The PSS divides each shared page among its processes."""
    return int(psutil.Process(pid).memory_full_info().pss)


def name_of(pid: int) -> str:
    """Return a process's command line as a readable text."""
    return " ".join(psutil.Process(pid).cmdline())[:100]
