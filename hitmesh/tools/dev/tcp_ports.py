"""Free TCP ports on this machine, and the holder of a busy port."""

from __future__ import annotations

import re
import socket
from contextlib import ExitStack
from pathlib import Path

HOST = "127.0.0.1"
TRIES = 200


def is_free(port: int, host: str = HOST) -> bool:
    """Return whether a listener could bind the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def next_free(wanted: int) -> int | None:
    """Return the first free port from `wanted` on; None when none of the next 200 ports is free."""
    return next((port for port in range(wanted, min(wanted + TRIES, 65536)) if is_free(port)), None)


def any_free(count: int) -> list[int]:
    """Return distinct free ports that the system chooses."""
    with ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((HOST, 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def holder(port: int) -> int | None:
    """Return the pid of the process that listens on a port; None when not found (Linux only)."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        path = Path(table)
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == port:
                inodes.add(fields[9])
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            found = re.fullmatch(r"socket:\[(\d+)\]", str(link.readlink()))
        except OSError:
            continue
        if found and found[1] in inodes:
            return int(link.parts[2])
    return None
