"""Parse a `servers:` store URL into addresses, and derive the names that a mesh uses on Kafka, Cassandra and Druid.

Several meshes can share servers if their names differ. This module opens no connection.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, quote, urlencode

from hitmesh.model.errors import RefusedError
from hitmesh.model.positions import Topic
from hitmesh.model.reasons import LocalReason

if TYPE_CHECKING:
    from hitmesh.model.rows.rollup_rows import RowSource

SCHEME: Final = "servers:"
DEFAULT_NAME: Final = "hitmesh"
MARK_MARGIN_MS: Final = 5_000
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")


@dataclass(frozen=True, slots=True)
class Servers:
    """Addresses and names from a `servers:?…` URL.

    Attributes:
        kafka: bootstrap addresses of Kafka, host:port separated by commas.
        cassandra: contact points of Cassandra, host:port separated by commas.
        broker: http or https URL of the Druid broker.
        coordinator: http or https URL of the Druid coordinator, which must also run the overlord.
        name: mesh name; prefix for topics, keyspace and data sources.
        keyspace: the Cassandra keyspace; if empty, the keyspace is `name`.
        datacenter: the Cassandra datacenter that is local to this process.
        mark_margin_ms: milliseconds for which a progress mark must be visible in both data sources before the mark is
            counted (architecture §4).
        tls: directory with tls.crt, tls.key and ca.crt, with which this process identifies itself to all servers;
            empty for plaintext.
        tls_cassandra: name that the certificate of each Cassandra node must have; empty: the address of the node.
        tls_druid: directory, on the machines of Druid, with tls-combined.pem (key and certificate) and ca.crt, with
            which Druid identifies itself to Kafka. Needed if `tls` is given.
    """

    kafka: str
    cassandra: str
    broker: str
    coordinator: str
    name: str = DEFAULT_NAME
    keyspace: str = ""
    datacenter: str = "datacenter1"
    mark_margin_ms: int = MARK_MARGIN_MS
    tls: str = ""
    tls_cassandra: str = ""
    tls_druid: str = ""

    def topic(self, topic: Topic) -> str:
        """Return the Kafka topic for a log topic."""
        return f"{self.name}.{topic}"

    def rollups(self, source: RowSource) -> str:
        """Return the Kafka topic that feeds a Druid data source."""
        return f"{self.name}.rollups.{source}"

    def data_source(self, source: RowSource) -> str:
        """Return the Druid data source for a row source."""
        return f"{self.name}_{source}"

    @property
    def keyspace_name(self) -> str:
        """Return the Cassandra keyspace."""
        return self.keyspace or self.name

    @property
    def url(self) -> str:
        """Return the store URL for these values; values that equal their defaults are left out."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        given = {name: value for name, value in values.items() if value != _DEFAULTS.get(name)}
        return f"{SCHEME}?{urlencode(given, safe=':/,', quote_via=quote)}"


_DEFAULTS: Final = {field.name: field.default for field in fields(Servers)}
_NEEDED: Final = ("kafka", "cassandra", "broker", "coordinator")


def parse_servers(url: str) -> Servers:
    """Return the servers that a store URL names.

    Raises:
        RefusedError: a part is missing, unknown, given twice or malformed (INVALID_CONFIG).
    """
    pairs = parse_qsl(url.removeprefix(SCHEME).removeprefix("?"), keep_blank_values=True)
    given = dict(pairs)
    if len(given) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _refused(url, f"part {twice!r} is given twice")
    for name in given:
        if name not in _DEFAULTS:
            raise _refused(url, f"unknown part {name!r}; parts are {', '.join(_DEFAULTS)}")
    for name in _NEEDED:
        if not given.get(name):
            raise _refused(url, f"{name} is missing")
    for name in ("name", "keyspace"):
        if given.get(name) and not _NAME.fullmatch(given[name]):
            raise _refused(
                url, f"{name} {given[name]!r} is not 1 to 32 characters of a-z, 0-9 and _, beginning with a letter"
            )
    _check_tls(url, given)
    margin = given.pop("mark_margin_ms", str(MARK_MARGIN_MS))
    if not margin.isascii() or not margin.isdigit():
        raise _refused(url, f"mark_margin_ms {margin!r} is not a whole number of milliseconds such as 5000")
    return Servers(**given, mark_margin_ms=int(margin))


def _check_tls(url: str, given: Mapping[str, str]) -> None:
    """Raise if a part of the mesh would be in plaintext although the URL has certificates, or the other way round."""
    has_tls = bool(given.get("tls"))
    for name in ("broker", "coordinator"):
        if given[name].startswith("https://") != has_tls:
            cure = "must begin with https:// if tls is given, and otherwise with http://"
            raise _refused(url, f"{name} {given[name]!r} {cure}")
    for name in ("tls", "tls_druid"):
        if given.get(name) and not given[name].startswith("/"):
            raise _refused(url, f"{name} {given[name]!r} is not an absolute directory")
    if has_tls != bool(given.get("tls_druid")) or (given.get("tls_cassandra") and not has_tls):
        raise _refused(url, "tls needs tls_druid, and tls_druid and tls_cassandra need tls")


def _refused(url: str, why: str) -> RefusedError:
    example = "servers:?kafka=HOST:9092&cassandra=HOST:9042&broker=http://HOST:8082&coordinator=http://HOST:8081"
    return RefusedError(f"store {url!r}: {why}; write {example}", field="store", reason=LocalReason.INVALID_CONFIG)
