"""End every process that a test run left behind.

Every process that a run starts inherits the environment variable RUN_OF_TESTS, which contains the run's name. Tests may
start processes in separate process groups, so a signal to a single group does not reach every process. Usage: `sweep.py
NAME [WAIT_S]`.
"""

from __future__ import annotations

import contextlib
import sys
import time

import psutil

VARIABLE = "RUN_OF_TESTS"
WAIT_S = 5.0  # grace period between SIGTERM and SIGKILL


def left_behind(name: str) -> list[psutil.Process]:
    """Return the run's processes, except this process and its ancestors."""
    this = psutil.Process()
    spared, found = {this, *this.parents()}, []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process not in spared and process.environ().get(VARIABLE) == name:
                found.append(process)
    return found


def sweep(name: str, wait_s: float = WAIT_S) -> int:
    """Send SIGTERM to the run's processes, and after `wait_s` SIGKILL to processes that still run.

    Return the number of processes that were found.
    """
    first = left_behind(name)
    for process in first:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    deadline = time.monotonic() + wait_s
    while (still := left_behind(name)) and time.monotonic() < deadline:
        time.sleep(0.1)
    for process in still:
        with contextlib.suppress(psutil.Error):
            process.kill()
    return len(first)


if __name__ == "__main__":
    if ended := sweep(sys.argv[1], *map(float, sys.argv[2:3])):
        sys.stderr.write(f"test: ended {ended} processes that were left behind\n")
