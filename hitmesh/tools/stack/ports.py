"""Which port each server listens on: chosen once, kept as long as nobody else takes it.

Decides the numbers: between 20000 and 32000, below those that the system hands to outgoing connections, and for each
home from another place on, so that two homes seldom meet.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Final

from hitmesh.tools.stack.errors import StackError

# By server: the first is the one it is spoken to on.
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
    """Returns a port for every name.

    Args:
        known: chosen before; kept for a server that runs, and where the port is free.
        running: servers that run, which hold their ports themselves.
        first: where to look for new ones.
        is_free: asked about ports that would be listened on.

    Raises:
        StackError: there are not enough free ports.
    """
    held = {name for server in running for name in PORTS[server]}
    chosen = {name: port for name, port in known.items() if name in NAMES and (name in held or is_free(port))}
    taken = {*known.values(), *chosen.values()}
    candidates = iter([*range(first, LAST), *range(FIRST, first)])
    for name in NAMES:
        if name not in chosen:
            port = next((one for one in candidates if one not in taken and is_free(one)), None)
            if port is None:
                raise StackError(f"no free port from {FIRST} to {LAST}: stop what listens there")
            chosen[name] = port
    return {name: chosen[name] for name in NAMES}


def first_port(home: Path) -> int:
    """Returns where the ports of a home begin."""
    number = int.from_bytes(hashlib.sha256(str(home).encode()).digest()[:4])
    return FIRST + number % ((LAST - FIRST) // _STEP) * _STEP


def read(file: Path) -> dict[str, int]:
    """Returns the ports that were chosen; none when there is no such file."""
    try:
        return {str(name): int(port) for name, port in json.loads(file.read_bytes()).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise StackError(f"{file} is not a list of ports: remove it, and others are chosen") from error


def write(file: Path, ports: Mapping[str, int]) -> None:
    """Keeps the ports; never seen half written."""
    temporary = file.with_name(f".{file.name}.new")
    temporary.write_text(json.dumps(dict(ports), indent=2) + "\n", encoding="utf-8")
    temporary.replace(file)
