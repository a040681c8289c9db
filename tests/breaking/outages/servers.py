"""Kill, suspend and restart the real servers that this run started. Servers are identified by name."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from hitmesh.tools.stack.commands import ensure_up, processes
from tests.support import servers
from tests.support.patience import patient
from tests.support.processes import is_alive, kill_at_once
from tests.support.services import Service
from tests.support.waiting import eventually

ENDED_S = 30.0


@dataclass(frozen=True)
class Control:
    """Controls the processes of the servers whose data is in a home."""

    home: Path

    def pid(self, name: str) -> int:
        """Return the process id of a server."""
        return processes(self.home)[name]

    def kill(self, name: str) -> None:
        """Kill a server with SIGKILL, as in a power cut."""
        pid = self.pid(name)
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not is_alive(pid), f"{name} is dead", ENDED_S)

    def kill_all(self, also: Sequence[Service] = ()) -> None:
        """Kill every server, and the services in `also`, at the same moment."""
        pids = list(processes(self.home).values())
        mine = [service.process for service in also if service.process is not None]
        kill_at_once([*pids, *(process.pid for process in mine)])
        for process in mine:
            process.wait(patient(ENDED_S))
        eventually(lambda: not any(map(is_alive, pids)), "all servers are dead", ENDED_S)

    def start_all(self) -> None:
        """Start every dead server, in order. Block until all servers are healthy."""
        ensure_up(self.home, _silent)

    def pause(self, name: str) -> None:
        """Suspend a server."""
        os.kill(self.pid(name), signal.SIGSTOP)

    def resume(self, name: str) -> None:
        """Resume a server."""
        os.kill(self.pid(name), signal.SIGCONT)


def control() -> Control:
    """Return control over the servers that this run started. Skip the test if another run started the servers."""
    if os.environ.get(servers.VARIABLE):
        pytest.skip(f"the servers named by {servers.VARIABLE} are not ours to kill")
    servers.running()
    return Control(servers.HOME)


def _silent(_: str) -> None:
    pass
