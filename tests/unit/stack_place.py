"""A home and ports of local servers, for tests that only render configurations. No test starts the servers."""

from __future__ import annotations

from pathlib import Path

from hitmesh.tools.stack.layout import StackHome
from hitmesh.tools.stack.members import SINGLE, Member
from hitmesh.tools.stack.server import Server
from hitmesh.tools.stack.servers import all_servers
from hitmesh.tools.stack.tcp_ports import NAMES

PORTS = {name: 20_000 + number for number, name in enumerate(NAMES)}


def rendered(root: Path = Path("/srv/mesh"), members: tuple[Member, ...] = SINGLE, **ports: int) -> dict[str, Server]:
    """Return all servers that belong to the home `root`.

    Each keyword in `ports` is the name of a server. In a keyword, `_` stands for the `-` in the server's name.
    """
    chosen = {**PORTS, **{name.replace("_", "-"): port for name, port in ports.items()}}
    return all_servers(StackHome(root), Path("/cache/servers"), "/usr/bin/java", chosen, members)
