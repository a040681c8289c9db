"""The fork server of `hitmesh dev`: a process that imports the services' modules once, and forks every service.

Usage: `python -m hitmesh.tools.dev.fork_server OWNER MODULE…`. OWNER is the pid of `hitmesh dev`, and standard input is
a socket on which `hitmesh dev` sends its requests (`forking`). A forked process calls the same `main` as
`python -m MODULE`.

The owner becomes the parent of every forked process, so that the owner gets the exit code, and the kernel kills the
process if the owner dies. The fork server has only those threads that allocators and Polars start when they are
imported. These threads hold no lock that a forked process needs (docs/decisions/0116).
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import json
import os
import signal
import socket
import struct
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

HEADER: Final = struct.Struct("!I")
"""Length of a request in bytes. The header carries the descriptors of standard output and standard error."""
ANSWER: Final = struct.Struct("!I")
"""Pid of the forked process."""

_SET_PDEATHSIG, _SET_NAME = 1, 15  # options of prctl
_ARG_START, _ARG_END = 45, 46  # index in /proc/self/stat after the process's name


@dataclass(frozen=True, slots=True)
class Task:
    """A module's `main`, which a forked process runs."""

    module: str
    arguments: Sequence[str]

    def run(self) -> int:
        """Call `main`, and return the exit code."""
        code: int = importlib.import_module(self.module).main(*self.arguments)
        return code


def main(owner: int, modules: Sequence[str]) -> int:
    """Import the modules and fork a process per request, until the owner closes the socket.

    In a forked process, run the process's task, and return the exit code of the task.
    """
    _preload(modules)
    with socket.socket(fileno=os.dup(0)) as requests:
        while request := _receive(requests):
            payload, output, errors = request
            task = _fork(requests, owner, payload, output, errors)
            if task is not None:
                break
            os.close(output)
            os.close(errors)
        else:
            return 0
    return task.run()


def _preload(modules: Sequence[str]) -> None:
    for module in modules:
        with contextlib.suppress(Exception):  # the process that needs the module raises the same error, in its own log
            importlib.import_module(module)
    gc.collect()
    gc.freeze()  # a collection in a forked process must not write to the shared pages of these objects


def _receive(requests: socket.socket) -> tuple[bytes, int, int] | None:
    """Return the next request, and descriptors for the output and the errors of the process; None at the end."""
    header, descriptors, _, _ = socket.recv_fds(requests, HEADER.size, 2)
    if not header:
        return None
    (left,) = HEADER.unpack(header)
    payload = b""
    while len(payload) < left:
        part = requests.recv(left - len(payload))
        if not part:
            return None
        payload += part
    return payload, descriptors[0], descriptors[1]


def _fork(requests: socket.socket, owner: int, payload: bytes, output: int, errors: int) -> Task | None:
    """Fork a process for a request and send the pid to the owner; return the task in the forked process, else None.

    The process is forked by an intermediate process that ends at once. The kernel then gives the orphan to the owner,
    which is a subreaper.
    """
    read_pid, write_pid = os.pipe()
    read_go, write_go = os.pipe()
    between = _forked()
    if between == 0:
        pid = _forked()
        if pid != 0:
            os.write(write_pid, ANSWER.pack(pid))
            os._exit(0)
        os.close(write_go)
        adopted = os.read(read_go, 1)
        if not adopted or not _is_leashed(owner):
            os._exit(1)
        for descriptor in (read_pid, write_pid, read_go):
            os.close(descriptor)
        return _become(json.loads(payload), output, errors)
    os.close(write_pid)
    os.waitpid(between, 0)
    answer = os.read(read_pid, ANSWER.size)
    if not answer:
        raise OSError("no process was forked: see the message above")
    requests.sendall(answer)  # if the owner no longer waits, this fails, and the process ends without a task
    os.write(write_go, b"1")
    for descriptor in (read_pid, read_go, write_go):
        os.close(descriptor)
    return None


def _forked() -> int:
    with warnings.catch_warnings():
        # Python warns about every thread; the module's docstring names the threads.
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def _is_leashed(owner: int) -> bool:
    """Ask the kernel to kill this process when the owner dies. Return whether the owner is alive and the parent."""
    ctypes.CDLL(None).prctl(_SET_PDEATHSIG, signal.SIGKILL)
    return os.getppid() == owner


def _become(request: dict[str, object], output: int, errors: int) -> Task:
    """Give this process the environment, the standard streams and the command line of `python -m MODULE`."""
    task = Task(str(request["module"]), [str(argument) for argument in _items(request["arguments"])])
    environment = request["environment"]
    assert isinstance(environment, dict)
    os.environ.clear()
    os.environ.update(environment)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, standard in ((nothing, 0), (output, 1), (errors, 2)):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    module = task.module.removesuffix(".__main__")
    sys.argv = [module, *task.arguments]
    _show_command(sys.executable, "-m", module, *task.arguments)
    ctypes.CDLL(None).prctl(_SET_NAME, str(request["name"]).encode())
    return task


def _items(value: object) -> list[object]:
    assert isinstance(value, list)
    return value


def _show_command(*words: str) -> None:
    """Write a command line over this process's own, so that `ps` and psutil show what the process runs."""
    fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    start, end = int(fields[_ARG_START]), int(fields[_ARG_END])
    text = "".join(f"{word}\0" for word in words).encode()[: max(end - start - 1, 0)]
    if text:
        ctypes.memset(start, 0, end - start)
        ctypes.memmove(start, text, len(text))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
