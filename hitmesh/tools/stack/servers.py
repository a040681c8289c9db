"""All servers of a stack, and the order in which they start and stop. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from hitmesh.tools.stack.cassandra import cassandra
from hitmesh.tools.stack.druid import broker, coordinator, historical, indexer, zookeeper
from hitmesh.tools.stack.kafka import kafka
from hitmesh.tools.stack.layout import StackHome
from hitmesh.tools.stack.members import MEMBERED, SINGLE, Member
from hitmesh.tools.stack.server import Place, Server

# The name of each function is the server's name in hitmesh.tools.stack.tcp_ports.
_OF_MEMBERS: Final = (cassandra, kafka)
_OF_DRUID: Final = (zookeeper, coordinator, broker, historical, indexer)
# The server with the slowest start comes first.
_ROLES: Final = ("cassandra", "zookeeper", "kafka", "coordinator", "broker", "historical", "indexer")
# A server stops before the servers that it needs. For example, the tasks of the indexer need the other servers to hand
# off their rows before the tasks stop.
_STOP_WAVES: Final = (("indexer",), ("historical", "broker"), ("coordinator",), ("zookeeper", "cassandra", "kafka"))


def names_of(members: Sequence[Member] = SINGLE) -> tuple[str, ...]:
    """Return the names of all servers, in the order in which they start.

    Example:
        >>> names_of()
        ('cassandra', 'zookeeper', 'kafka', 'coordinator', 'broker', 'historical', 'indexer')
    """
    return _named(_ROLES, members)


def stop_waves(members: Sequence[Member] = SINGLE) -> tuple[tuple[str, ...], ...]:
    """Return the names of all servers, in groups that stop together."""
    return tuple(_named(wave, members) for wave in _STOP_WAVES)


def all_servers(
    home: StackHome, jars: Path, java: str, ports: Mapping[str, int], members: tuple[Member, ...] = SINGLE
) -> dict[str, Server]:
    """Return all servers, keyed by name."""
    place = Place(home.conf(), home.data, home.logs, jars, java, ports, members)
    servers = [make(place, member) for make in _OF_MEMBERS for member in members]
    servers += [make(place) for make in _OF_DRUID]
    return {server.name: server for server in servers}


def store_url(ports: Mapping[str, int], members: Sequence[Member] = SINGLE) -> str:
    """Return the store URL that services open; a mesh appends `&name=`."""
    at = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    kafka, cassandra = (",".join(f"{member.host}:{ports[name]}" for member in members) for name in MEMBERED)
    return (
        f"servers:?kafka={kafka}&cassandra={cassandra}"
        f"&broker=http://{at['broker']}&coordinator=http://{at['coordinator']}"
    )


def _named(roles: Sequence[str], members: Sequence[Member]) -> tuple[str, ...]:
    return tuple(
        name for role in roles for name in ([member.name(role) for member in members] if role in MEMBERED else [role])
    )
