"""Child processes of a mesh, whose output goes to log files.

On Linux, the children end when the launcher ends.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

LAST_LINES = 20
STOP_TIMEOUT_S = 10.0

# The child first ignores SIGINT. The child then asks the kernel to kill the child when the parent dies (prctl option 1,
# PR_SET_PDEATHSIG). Finally, the child executes the command. The command keeps ignoring SIGINT, and the kernel still
# kills the command when the parent dies. No Python code runs between fork and exec, because a lock that another thread
# holds at the fork could cause a deadlock.
_LEASHED: Final = """
import ctypes, os, signal, sys
parent, command = int(sys.argv[1]), sys.argv[2:]
signal.signal(signal.SIGINT, signal.SIG_IGN)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)
try:
    os.execvp(command[0], command)
except OSError as error:
    sys.exit(f"{command[0]}: {error.strerror}")
"""
_LEASH: Final = (sys.executable, "-I", "-S", "-c", _LEASHED)


class Process(Protocol):
    """A process whose parent is this process. The methods are those of `subprocess.Popen`."""

    pid: int
    returncode: int | None

    def poll(self) -> int | None:
        """Return the exit code, or None if the process runs. After a signal, the exit code is negative."""

    def wait(self, timeout: float | None = None) -> int:
        """Block until the process ends, and return the exit code.

        Raises:
            subprocess.TimeoutExpired: the process still runs after `timeout` seconds.
        """

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless the process has ended."""

    def kill(self) -> None:
        """Send SIGKILL, unless the process has ended."""


@dataclass(slots=True)
class Child:
    """A started process."""

    name: str
    process: Process
    log: Path
    log_start: int = 0

    def last_lines(self) -> list[str]:
        """Return the last lines (at most 20) that were written to the log since this child's start."""
        with self.log.open(encoding="utf-8", errors="replace") as lines:
            lines.seek(self.log_start)
            return list(deque((line.rstrip("\n") for line in lines), maxlen=LAST_LINES))

    def obituary(self) -> str:
        """Return a message about this child's end: the exit code, the last lines and a remedy."""
        lines = "\n".join(f"    {line}" for line in self.last_lines())
        return (
            f"{self.name} exited with code {self.process.returncode}; the last lines ({self.log}):\n{lines}\n"
            "all other processes were stopped, and data is kept; start again with `hitmesh dev`"
        )


def start(
    name: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    log: Path,
    directory: Path | None = None,
    stdin: int = subprocess.DEVNULL,
) -> Child:
    """Start a child with output to `log`.

    The child gets SIGKILL when this process dies.

    The working directory is `directory`, by default this process's directory. Standard input is empty, unless `stdin`
    is a file descriptor.

    The child ignores Ctrl-C on the terminal, because the mesh stops its children in order.
    """
    with log.open("ab") as output:
        log_start = output.tell()
        process = subprocess.Popen(
            [*_LEASH, str(os.getpid()), *command],
            env=dict(environment),
            cwd=directory,
            stdin=stdin,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    return Child(name, process, log, log_start)


def stop(children: Sequence[Child], timeout_s: float = STOP_TIMEOUT_S) -> None:
    """Stop the children one after another, in the given order. A child that still runs after the timeout is killed."""
    for child in children:
        if child.process.poll() is None:
            child.process.send_signal(signal.SIGTERM)
            try:
                child.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()


def first_dead(children: Sequence[Child]) -> Child | None:
    """Return a child that has ended, or None if all children run."""
    return next((child for child in children if child.process.poll() is not None), None)


def wait_any(children: Sequence[Child], seconds: float) -> Child | None:
    """Wait up to `seconds` for a child to end.

    Return the child that has ended, or None if all children still run.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        dead = first_dead(children)
        if dead is not None:
            return dead
        time.sleep(0.05)
    return None
