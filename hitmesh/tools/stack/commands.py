"""Operations on a home directory's servers: fetch jars, start, stop, check and show logs.

This module reads the environment variables, because the command line, `hitmesh dev` and tests call the module's
functions.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from hitmesh.tools.stack import fetch as fetching
from hitmesh.tools.stack import members as membership
from hitmesh.tools.stack import processes as noting
from hitmesh.tools.stack import programs, tcp_ports
from hitmesh.tools.stack.errors import StackError
from hitmesh.tools.stack.health import passes
from hitmesh.tools.stack.launcher import Launcher
from hitmesh.tools.stack.layout import Say, StackHome, cache_dir
from hitmesh.tools.stack.members import Member
from hitmesh.tools.stack.server import Server
from hitmesh.tools.stack.servers import all_servers, names_of, store_url

__all__ = [
    "ServerStatus",
    "StackError",
    "down",
    "ensure_up",
    "fetch",
    "log_of",
    "names",
    "processes",
    "status",
    "url",
]


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """State of a server.

    Attributes:
        name: name of the server.
        pid: process id; 0 if the server does not run.
        port: client port; 0 if no port has been chosen yet.
        is_healthy: whether the health check succeeded.
        resident_bytes: resident memory of the process.
        uptime_s: seconds since the start.
    """

    name: str
    pid: int = 0
    port: int = 0
    is_healthy: bool = False
    resident_bytes: int = 0
    uptime_s: float = 0.0

    @property
    def state(self) -> str:
        """The server's state as text, which is "down", "healthy" or "not healthy"."""
        if not self.pid:
            return "down"
        return "healthy" if self.is_healthy else "not healthy"


def fetch(say: Say) -> Path:
    """Fetch missing jars, and return the folder with all jars.

    Raises:
        StackError: a program is missing, or the jars cannot be fetched.
    """
    return fetching.fetch(cache_dir(), say)


def ensure_up(home: Path, say: Say, members: tuple[Member, ...] | None = None) -> str:
    """Start servers that are down, and return the store URL for a home directory's servers.

    Missing programs are fetched first.

    Args:
        home: home directory of the servers.
        say: reports progress.
        members: members of a new stack; by default, the members that the stack has.

    Raises:
        StackError: a program or jar is missing, or a server does not start; the message names the cause and a remedy.
            Or the stack has other members.
    """
    jars, java = fetch(say), programs.java(say)
    place = StackHome(home.expanduser().resolve())
    with place.locked(say):
        if members is not None:
            membership.keep(place, members)
        found = membership.read(place.members_file)
        return store_url(Launcher(place, jars, java, say, found).up(), found)


def down(home: Path, say: Say) -> bool:
    """Stop a home directory's servers in order, and keep the data.

    Return whether any server was running.
    """
    place = StackHome(home.expanduser().resolve())
    if not place.base.exists():
        return False
    with place.locked(say):
        ran = bool(processes(home))
        Launcher(place, cache_dir(), "java", say, membership.read(place.members_file)).down()
        return ran


def processes(home: Path) -> Mapping[str, int]:
    """Return the pid of each running server, keyed by server name."""
    place = StackHome(home.expanduser().resolve())
    found = {name: noting.read(place.pid(name)) for name in names(home)}
    return {name: noted.pid for name, noted in found.items() if noted}


def status(home: Path) -> list[ServerStatus]:
    """Check the health of every server, and return the results."""
    place = StackHome(home.expanduser().resolve())
    chosen, members = tcp_ports.read(place.ports_file), membership.read(place.members_file)
    if set(chosen) != set(tcp_ports.NAMES):
        return [ServerStatus(name) for name in names_of(members)]
    servers = all_servers(place, cache_dir(), "java", chosen, members)
    with ThreadPoolExecutor(len(servers)) as asking:
        return list(asking.map(lambda server: _status_of(place, server), servers.values()))


def url(home: Path) -> str | None:
    """Return the store URL for a home directory's servers, or None if no server was ever started."""
    place = StackHome(home.expanduser().resolve())
    chosen = tcp_ports.read(place.ports_file)
    return store_url(chosen, membership.read(place.members_file)) if set(chosen) == set(tcp_ports.NAMES) else None


def names(home: Path) -> tuple[str, ...]:
    """Return the names of a home directory's servers."""
    return names_of(membership.read(StackHome(home.expanduser().resolve()).members_file))


def log_of(home: Path, name: str) -> Path:
    """Return the path of a server's log.

    Raises:
        StackError: the server was never started in this home directory.
    """
    log = StackHome(home.expanduser().resolve()).log(name)
    if not log.exists():
        raise StackError(
            f"{name} was never started on {home}: start the servers with `hitmesh stack up`, or give another --home"
        )
    return log


def _status_of(place: StackHome, server: Server) -> ServerStatus:
    noted = noting.read(place.pid(server.name))
    if noted is None:
        return ServerStatus(server.name, port=server.port)
    size, uptime_s = noting.resident_bytes(noted.pid), noting.uptime_s(noted)
    return ServerStatus(server.name, noted.pid, server.port, passes(server.is_healthy), size, uptime_s)
