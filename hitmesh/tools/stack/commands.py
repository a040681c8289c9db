"""What can be asked of the servers of a home: fetch, up, down, status, logs.

Called by the command line, by `hitmesh dev` and by tests, so it reads the environment. Decides nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from hitmesh.tools.stack import fetch as fetching
from hitmesh.tools.stack import ports, programs
from hitmesh.tools.stack import processes as noting
from hitmesh.tools.stack.errors import StackError
from hitmesh.tools.stack.health import asks
from hitmesh.tools.stack.launcher import Launcher
from hitmesh.tools.stack.layout import Say, StackHome, cache_dir
from hitmesh.tools.stack.server import Server
from hitmesh.tools.stack.servers import NAMES, all_servers, store_url

__all__ = [
    "ServerStatus",
    "StackError",
    "down",
    "ensure_up",
    "fetch",
    "log_of",
    "processes",
    "start",
    "status",
    "url",
]


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """How a server is.

    Attributes:
        name: of the server.
        pid: of its process; 0 when it does not run.
        port: the one it is spoken to on; 0 when none was chosen yet.
        is_healthy: it answers as it should.
        resident_bytes: memory that it has.
        uptime_s: since when it runs.
    """

    name: str
    pid: int = 0
    port: int = 0
    is_healthy: bool = False
    resident_bytes: int = 0
    uptime_s: float = 0.0

    @property
    def state(self) -> str:
        """One word for people."""
        if not self.pid:
            return "down"
        return "healthy" if self.is_healthy else "not healthy"


def fetch(say: Say) -> Path:
    """Returns the folder with all jars, fetched if need be.

    Raises:
        StackError: a program is missing, or the jars cannot be had.
    """
    return fetching.fetch(os.environ, say)


def ensure_up(home: Path, say: Say) -> str:
    """Returns the store URL of the servers of a home; fetches and starts them when they are not up.

    Raises:
        StackError: something is missing or does not start; the text says what, and a cure.
    """
    jars, java = fetch(say), programs.java(say)
    place = StackHome(home.expanduser().resolve())
    with place.locked(say):
        return store_url(Launcher(place, jars, java, say).up())


def start(home: Path, name: str) -> None:
    """Starts one server that died, on the port that it had, and returns once it is healthy.

    Raises:
        StackError: it does not start.
    """
    place = StackHome(home.expanduser().resolve())
    with place.locked(_silent):
        Launcher(place, fetch(_silent), programs.java(_silent), _silent).up((name,))


def down(home: Path, say: Say) -> bool:
    """Stops the servers of a home in order; data is kept. Returns whether any ran."""
    place = StackHome(home.expanduser().resolve())
    if not place.base.exists():
        return False
    with place.locked(say):
        ran = bool(processes(home))
        Launcher(place, cache_dir(os.environ), "java", say).down()
        return ran


def processes(home: Path) -> Mapping[str, int]:
    """Returns the pid of each server that runs, by name."""
    place = StackHome(home.expanduser().resolve())
    found = {name: noting.read(place.pid(name)) for name in NAMES}
    return {name: noted.pid for name, noted in found.items() if noted}


def status(home: Path) -> list[ServerStatus]:
    """Returns how every server is, asked now."""
    place = StackHome(home.expanduser().resolve())
    chosen = ports.read(place.ports_file)
    if set(chosen) != set(ports.NAMES):
        return [ServerStatus(name) for name in NAMES]
    servers = all_servers(place, cache_dir(os.environ), "java", chosen)
    with ThreadPoolExecutor(len(servers)) as asking:
        return list(asking.map(lambda one: _status_of(place, one), servers.values()))


def url(home: Path) -> str | None:
    """Returns the store URL of the servers of a home; None when they were never started."""
    chosen = ports.read(StackHome(home.expanduser().resolve()).ports_file)
    return store_url(chosen) if set(chosen) == set(ports.NAMES) else None


def log_of(home: Path, name: str) -> Path:
    """Returns the log of a server.

    Raises:
        StackError: it was never started here.
    """
    log = StackHome(home.expanduser().resolve()).log(name)
    if not log.exists():
        raise StackError(
            f"{name} was never started on {home}: start it with `hitmesh stack up`, or give another --home"
        )
    return log


def _status_of(place: StackHome, server: Server) -> ServerStatus:
    noted = noting.read(place.pid(server.name))
    if noted is None:
        return ServerStatus(server.name, port=server.port)
    size, uptime_s = noting.resident_bytes(noted.pid), noting.uptime_s(noted)
    return ServerStatus(server.name, noted.pid, server.port, asks(server.is_healthy), size, uptime_s)


def _silent(_: str) -> None:
    pass
