"""The owner's side of the fork server: start processes of Python modules without importing the modules again."""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from hitmesh.tools.dev import children, fork_server
from hitmesh.tools.dev.fork_server import ANSWER, HEADER

NAME: Final = "fork-server"
ANSWER_S: Final = 60.0  # the first answer comes when all modules are imported
_SET_CHILD_SUBREAPER: Final = 36  # option of prctl


class ForkServerEnded(Exception):
    """The fork server has ended, or does not answer; the message is for users."""


class Forked:
    """A process that the fork server forked, and whose parent is this process.

    The methods are those of `subprocess.Popen`.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, or None if the process runs. After a signal, the exit code is negative."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid != 0:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Block until the process ends, and return the exit code.

        Raises:
            subprocess.TimeoutExpired: the process still runs after `timeout` seconds.
        """
        if self.poll() is None:
            handle = os.pidfd_open(self.pid)
            try:
                ended = select.poll()
                ended.register(handle, select.POLLIN)
                ended.poll(None if timeout is None else timeout * 1_000)
            finally:
                os.close(handle)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
        return code

    def send_signal(self, sig: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        """Send SIGKILL, unless the process has ended."""
        self.send_signal(signal.SIGKILL)


class ForkServer:
    """A fork server, as a context manager that ends the fork server but not the processes that it forked.

    This process becomes the parent of the forked processes, and of all other descendants whose parent dies.

    Args:
        modules: modules to import once.
        environment: environment variables of the fork server. Libraries read some variables when they are imported, for
            example `POLARS_MAX_THREADS`; a forked process must have the same values.
        logs: directory for the file with the fork server's output.
        answer_s: seconds after which a request without an answer fails, and all later requests too.
    """

    def __init__(
        self, modules: Sequence[str], environment: Mapping[str, str], logs: Path, answer_s: float = ANSWER_S
    ) -> None:
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1)
        self._requests, served = socket.socketpair()
        self._answer_s = answer_s
        self._requests.settimeout(answer_s)
        command = [sys.executable, "-m", fork_server.__name__, str(os.getpid()), *modules]
        with served:
            self.child = children.start(NAME, command, environment, logs / f"{NAME}.log", stdin=served.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._requests.close()
        children.stop([self.child])

    def start(
        self, name: str, module: str, environment: Mapping[str, str], log: Path, arguments: Sequence[str] = ()
    ) -> children.Child:
        """Start a child that runs `main(*arguments)` of a module, with output to `log`.

        `ps -o comm` shows the first 15 characters of the name. The child gets SIGKILL when this process dies, and
        ignores Ctrl-C on the terminal.

        Raises:
            ForkServerEnded: the fork server has ended, or does not answer.
        """
        with log.open("ab") as output:
            log_start = output.tell()
            process = self._fork(name, module, arguments, environment, output.fileno(), output.fileno())
        return children.Child(name, process, log, log_start)

    def run(self, module: str, arguments: Sequence[str], *, shown: bool) -> int:
        """Run `main(*arguments)` of a module in a new process with this process's environment; return the exit code.

        Standard error is this process's, and so is standard output if `shown`.

        Raises:
            ForkServerEnded: the fork server has ended, or does not answer.
        """
        with Path(os.devnull).open("wb") as nothing:
            output = sys.stdout.fileno() if shown else nothing.fileno()
            process = self._fork(module.rpartition(".")[2], module, arguments, os.environ, output, sys.stderr.fileno())
        try:
            return process.wait()
        finally:
            process.kill()

    def _fork(
        self,
        name: str,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        output: int,
        errors: int,
    ) -> Forked:
        request = {"name": name, "module": module, "arguments": list(arguments), "environment": dict(environment)}
        payload = json.dumps(request).encode()
        try:
            socket.send_fds(self._requests, [HEADER.pack(len(payload))], [output, errors])
            self._requests.sendall(payload)
            answer = self._requests.recv(ANSWER.size)
        except TimeoutError as error:
            self._requests.close()  # a late answer must not be taken for the answer to the next request
            raise ForkServerEnded(f"{NAME} has not answered for {self._answer_s:g} s: see {self.child.log}") from error
        except ConnectionError:
            answer = b""
        except OSError as error:
            raise ForkServerEnded(f"{NAME} cannot be asked ({error}): see {self.child.log}") from error
        if not answer:
            self.child.process.wait()
            raise ForkServerEnded(self.child.obituary())
        return Forked(*ANSWER.unpack(answer))
