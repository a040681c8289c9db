"""Signals to the real servers of this run: each is found by its name, and started again by the project's launcher."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from hitmesh.tools.stack.commands import ensure_up, processes, start
from tests.support import servers
from tests.support.patience import patient
from tests.support.processes import is_alive, kill_at_once
from tests.support.services import Service
from tests.support.waiting import eventually

ENDED_S = 30.0


@dataclass(frozen=True)
class Control:
    """The servers of one home."""

    home: Path

    def pid(self, name: str) -> int:
        """The process of a server."""
        return processes(self.home)[name]

    def kill(self, name: str) -> None:
        """Ends a server as a power cut would."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not is_alive(pid), f"{name} is dead", ENDED_S)

    def kill_all(self, also: Sequence[Service] = ()) -> None:
        """Ends every server, and services with them, in the same moment."""
        pids = list(processes(self.home).values())
        mine = [service.process for service in also if service.process is not None]
        kill_at_once([*pids, *(one.pid for one in mine)])
        for one in mine:
            one.wait(patient(ENDED_S))
        eventually(lambda: not any(map(is_alive, pids)), "all servers are dead", ENDED_S)

    def start_all(self) -> None:
        """Starts every server that died, in order, and waits until all are healthy."""
        ensure_up(self.home, _silent)

    def start(self, name: str) -> None:
        """Starts a server that died and waits until it is healthy."""
        start(self.home, name)

    def pause(self, name: str) -> None:
        """Puts a server to sleep."""
        os.kill(self.pid(name), signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Wakes a server up."""
        os.kill(self.pid(name), signal.SIGCONT)


def control() -> Control:
    """Returns the control of the servers that this run started; skips where they are somebody else's."""
    if os.environ.get(servers.VARIABLE):
        pytest.skip(f"the servers named by {servers.VARIABLE} are not ours to kill")
    servers.running()
    return Control(servers.HOME)


def _silent(_: str) -> None:
    pass
