"""Where Kafka, Cassandra and Druid are, and under which names a mesh lives on them: a store URL taken apart.

Decides names only: several meshes share the same servers when their `name` differs. Opens nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode

from hitmesh.model.errors import RefusedError
from hitmesh.model.positions import Topic
from hitmesh.model.rows.rollup_rows import RowSource

SCHEME: Final = "servers:"
DEFAULT_NAME: Final = "hitmesh"
MARK_MARGIN_MS: Final = 5_000
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")


@dataclass(frozen=True, slots=True)
class Servers:
    """What a `servers:?…` URL says.

    Attributes:
        kafka: bootstrap addresses, host:port with commas between.
        cassandra: contact points, host:port with commas between.
        broker: http URL of a Druid broker.
        coordinator: http URL of the Druid coordinator that is overlord too.
        name: of the mesh: what topics, keyspace and data sources begin with.
        keyspace: of Cassandra; empty = `name`.
        datacenter: of Cassandra, local to this process.
        mark_margin_ms: a mark counts so long after it was seen in Druid (architecture §4).
    """

    kafka: str
    cassandra: str
    broker: str
    coordinator: str
    name: str = DEFAULT_NAME
    keyspace: str = ""
    datacenter: str = "datacenter1"
    mark_margin_ms: int = MARK_MARGIN_MS

    def topic(self, topic: Topic) -> str:
        """Returns the Kafka topic of a topic of the log."""
        return f"{self.name}.{topic}"

    def rollups(self, source: RowSource) -> str:
        """Returns the Kafka topic that a Druid data source reads."""
        return f"{self.name}.rollups.{source}"

    def data_source(self, source: RowSource) -> str:
        """Returns the Druid data source of a row source."""
        return f"{self.name}_{source}"

    @property
    def keyspace_name(self) -> str:
        """The keyspace in Cassandra."""
        return self.keyspace or self.name

    @property
    def url(self) -> str:
        """The store URL that says the same."""
        own = {one.name: getattr(self, one.name) for one in fields(self)}
        said = {name: value for name, value in own.items() if value != _DEFAULTS.get(name)}
        return f"{SCHEME}?{urlencode(said, safe=':/,', quote_via=quote)}"


_DEFAULTS: Final = {one.name: one.default for one in fields(Servers)}
_NEEDED: Final = ("kafka", "cassandra", "broker", "coordinator")


def parse_servers(url: str) -> Servers:
    """Returns what a store URL of servers says.

    Raises:
        RefusedError: a part is missing, unknown, given twice or malformed (INVALID_CONFIG).
    """
    pairs = parse_qsl(url.removeprefix(SCHEME).removeprefix("?"), keep_blank_values=True)
    said = dict(pairs)
    if len(said) != len(pairs):
        raise _refused(url, "a part is given twice")
    for name in said:
        if name not in _DEFAULTS:
            raise _refused(url, f"{name!r} is no part of it; parts are {', '.join(_DEFAULTS)}")
    for name in _NEEDED:
        if not said.get(name):
            raise _refused(url, f"{name} is missing")
    for name in ("name", "keyspace"):
        if said.get(name) and not _NAME.fullmatch(said[name]):
            raise _refused(url, f"{name} {said[name]!r} is not {_NAME.pattern}")
    margin = said.pop("mark_margin_ms", str(MARK_MARGIN_MS))
    if not margin.isascii() or not margin.isdigit():
        raise _refused(url, f"mark_margin_ms {margin!r} is not a number of milliseconds")
    return Servers(**said, mark_margin_ms=int(margin))


def _refused(url: str, why: str) -> RefusedError:
    example = "servers:?kafka=HOST:9092&cassandra=HOST:9042&broker=http://HOST:8082&coordinator=http://HOST:8081"
    return RefusedError(f"store {url!r}: {why}; write {example}", field="store", reason="INVALID_CONFIG")
