"""End every process that a test run left behind.

Each process that a run starts inherits the variable RUN_OF_TESTS with the run's name. Tests may start processes in
separate process groups, so a signal to a single group does not reach them all. Usage: `sweep.py NAME`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

VARIABLE = b"RUN_OF_TESTS"
WAIT_S = 5.0  # grace period between SIGTERM and SIGKILL


def left_behind(name: str) -> list[int]:
    """Return the pids of the run's processes, except this process and its ancestors."""
    wanted, spared = VARIABLE + b"=" + name.encode(), _ancestors(os.getpid())
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) not in spared:
            with contextlib.suppress(OSError):
                if wanted in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def sweep(name: str) -> int:
    """Send SIGTERM to the run's processes, then SIGKILL to survivors; return how many processes there were."""
    first = left_behind(name)
    _signal(first, signal.SIGTERM)
    deadline = time.monotonic() + WAIT_S
    while (still := left_behind(name)) and time.monotonic() < deadline:
        time.sleep(0.1)
    _signal(still, signal.SIGKILL)
    return len(first)


def _ancestors(pid: int) -> set[int]:
    found = set()
    while pid > 0:
        found.add(pid)
        text = Path(f"/proc/{pid}/stat").read_text()
        pid = int(text.rpartition(")")[2].split()[1])
    return found


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


if __name__ == "__main__":
    if ended := sweep(sys.argv[1]):
        sys.stderr.write(f"test: ended {ended} processes that were left behind\n")
