"""Home and ports of servers whose configuration is rendered, but which are never started."""

from __future__ import annotations

from pathlib import Path

from hitmesh.tools.stack.layout import StackHome
from hitmesh.tools.stack.server import Server
from hitmesh.tools.stack.servers import all_servers
from hitmesh.tools.stack.tcp_ports import NAMES

PORTS = {name: 20_000 + number for number, name in enumerate(NAMES)}


def rendered(root: Path = Path("/srv/mesh"), **ports: int) -> dict[str, Server]:
    """Return every server of a home. The key of an argument in `ports` is a server's name (with `_` for `-`)."""
    chosen = {**PORTS, **{name.replace("_", "-"): port for name, port in ports.items()}}
    return all_servers(StackHome(root), Path("/cache/servers"), "/usr/bin/java", chosen)
