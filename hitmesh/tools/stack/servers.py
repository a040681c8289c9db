"""All servers of a stack, and the order in which they start and stop. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from hitmesh.tools.stack.cassandra import cassandra
from hitmesh.tools.stack.druid import broker, coordinator, historical, indexer, zookeeper
from hitmesh.tools.stack.kafka import kafka
from hitmesh.tools.stack.layout import StackHome
from hitmesh.tools.stack.server import Place, Server

# The server with the slowest start comes first. The name of each function is the server's name in
# hitmesh.tools.stack.tcp_ports.
_ALL: Final = (cassandra, zookeeper, kafka, coordinator, broker, historical, indexer)
NAMES: Final = tuple(maker.__name__ for maker in _ALL)
# A server stops before the servers that it needs. For example, the tasks of the indexer need the other servers to hand
# off their rows before the tasks stop.
STOP_WAVES: Final = (("indexer",), ("historical", "broker"), ("coordinator",), ("zookeeper", "cassandra", "kafka"))


def all_servers(home: StackHome, jars: Path, java: str, ports: Mapping[str, int]) -> dict[str, Server]:
    """Return all servers, keyed by name."""
    place = Place(home.conf(), home.data, home.logs, jars, java, ports)
    return {make.__name__: make(place) for make in _ALL}


def store_url(ports: Mapping[str, int]) -> str:
    """Return the store URL that services open; a mesh appends `&name=`."""
    at = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    return (
        f"servers:?kafka={at['kafka']}&cassandra={at['cassandra']}"
        f"&broker=http://{at['broker']}&coordinator=http://{at['coordinator']}"
    )
