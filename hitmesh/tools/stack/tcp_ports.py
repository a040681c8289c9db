"""Allocates TCP ports for the servers. A server keeps its port unless another program takes the port.

Port numbers are between 20000 and 32000, below the range for outgoing connections. Each home directory begins its
search at a different number, so that two home directories seldom collide.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Final

from hitmesh.tools.stack.errors import StackError
from hitmesh.tools.stack.members import role_of

# For each server, the names of its ports. The port for clients comes first.
PORTS: Final = {
    "kafka": ("kafka", "kafka-controller"),
    "cassandra": ("cassandra", "cassandra-storage", "cassandra-storage-tls", "cassandra-jmx"),
    "zookeeper": ("zookeeper",),
    "coordinator": ("coordinator", "coordinator-metadata"),
    "broker": ("broker",),
    "historical": ("historical",),
    "indexer": ("indexer",),
}
NAMES: Final = tuple(name for names in PORTS.values() for name in names)
FIRST, LAST = 20_000, 32_000
_STEP: Final = 20


def choose(
    known: Mapping[str, int], running: Collection[str], first: int, is_free: Callable[[int], bool]
) -> dict[str, int]:
    """Return a port for every name in NAMES.

    Args:
        known: ports that were chosen before; a port is kept if its server runs or the port is free.
        running: names of the running servers, whose ports are busy because the servers use them.
        first: number at which the search for new ports starts.
        is_free: returns whether a server could listen on a port.

    Raises:
        StackError: there are not enough free ports.
    """
    held = {name for server in running for name in PORTS[role_of(server)]}
    chosen = {name: port for name, port in known.items() if name in NAMES and (name in held or is_free(port))}
    taken = {*known.values(), *chosen.values()}
    candidates = iter([*range(first, LAST), *range(FIRST, first)])
    for name in NAMES:
        if name not in chosen:
            port = next((candidate for candidate in candidates if candidate not in taken and is_free(candidate)), None)
            if port is None:
                raise StackError(f"no free port from {FIRST} to {LAST}: stop a program that listens there")
            chosen[name] = port
    return {name: chosen[name] for name in NAMES}


def first_port(home: Path) -> int:
    """Return the port number from which a home directory searches for free ports."""
    number = int.from_bytes(hashlib.sha256(str(home).encode()).digest()[:4])
    return FIRST + number % ((LAST - FIRST) // _STEP) * _STEP


def read(file: Path) -> dict[str, int]:
    """Return the ports in the file; empty if the file does not exist."""
    try:
        return {str(name): int(port) for name, port in json.loads(file.read_bytes()).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise StackError(
            f"{file} is not a list of ports: remove the file; `hitmesh stack up` then chooses new ports"
        ) from error


def write(file: Path, ports: Mapping[str, int]) -> None:
    """Write the ports atomically."""
    temporary = file.with_name(f".{file.name}.new")
    temporary.write_text(json.dumps(dict(ports), indent=2) + "\n", encoding="utf-8")
    temporary.replace(file)
