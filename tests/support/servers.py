"""Real Kafka, Cassandra and Druid for tests. The servers are started once, and each test may get a separate mesh.

If HITMESH_TEST_SERVERS contains the store URL of existing servers, the tests use these servers. If HITMESH_TEST_SERVERS
is not set, `hitmesh stack` starts servers. Their home is HITMESH_TEST_STACK_HOME, by default a directory in the
repository. The next run of the tests uses the same home.
"""

from __future__ import annotations

import os
import secrets
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

from hitmesh.adapters.cassandra import schema as cassandra
from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.adapters.druid import schema as druid
from hitmesh.adapters.kafka import schema as kafka
from hitmesh.adapters.schema_plan import Action, Change, SchemaOptions
from hitmesh.adapters.servers import Servers, parse_servers
from tests.support.removal import remove_keyspace, remove_sources, remove_topics

VARIABLE: Final = "HITMESH_TEST_SERVERS"
HOME: Final = Path(os.environ.get("HITMESH_TEST_STACK_HOME") or Path(__file__).parents[2] / ".stack")
# A progress mark counts only after it has been visible for this time in both data sources. The tests of Druid show why
# this time is needed.
MARK_MARGIN_MS: Final = 300
OPTIONS: Final = SchemaOptions(hits_partitions=4, rollups_partitions=2)
# Number of meshes that are made in advance, without and with Druid's data sources. Druid takes 4 s to start reading,
# and the shortest tests take 2 s.
AHEAD: Final = {False: 1, True: 2}
# Tables with rows whose write timestamps are in the past. If an earlier test left tombstones in these tables, the
# tombstones would hide the rows.
OLD_TIMESTAMPS: Final = ("series_partials", "flushed", "ledger", "progress", "writers", "rebuilt_site_days")


@lru_cache(maxsize=1)
def running() -> Servers:
    """Return the addresses of the servers. Servers that do not run are started."""
    given = os.environ.get(VARIABLE)
    if given:
        return replace(parse_servers(given), mark_margin_ms=MARK_MARGIN_MS)
    from hitmesh.tools.stack.commands import ensure_up

    return replace(parse_servers(ensure_up(HOME, print)), mark_margin_ms=MARK_MARGIN_MS)


def apply(changes: Iterable[Change]) -> None:
    """Apply every change that a plan of a schema lists."""
    for change in changes:
        if change.action is not Action.KEEP:
            change.apply()


def a_name() -> str:
    """Return a random mesh name, which no other mesh has."""
    return f"t{secrets.token_hex(4)}"


class Meshes:
    """A pool of meshes.

    Meshes are created in advance and removed in the background, because servers take long for both. Keyspaces are
    emptied and used again, because creating their tables takes seconds.
    """

    def __init__(self) -> None:
        running()  # start the servers now, so that no two threads start them concurrently
        self._workers = ThreadPoolExecutor(4, thread_name_prefix="meshes")
        self._free: SimpleQueue[str] = SimpleQueue()
        self._made: list[str] = []
        self._ahead: dict[bool, deque[Future[Servers]]] = {with_druid: deque() for with_druid in AHEAD}
        self._removed: list[Future[None]] = []

    def fresh(self, *, with_druid: bool) -> Servers:
        """Return an empty mesh, and begin to create the next meshes.

        With `with_druid`, the mesh has data sources in Druid.
        """
        ahead = self._ahead[with_druid]
        while len(ahead) <= AHEAD[with_druid]:
            ahead.append(self._workers.submit(self._make, with_druid=with_druid))
        return ahead.popleft().result()

    def release(self, servers: Servers, *, with_druid: bool) -> None:
        """Remove the mesh's topics and data sources in the background, and let another mesh use its keyspace."""
        self._removed.append(self._workers.submit(self._remove, servers, with_druid=with_druid))

    def drop(self) -> None:
        """Remove everything.

        Raises:
            Exception: the removal of a mesh failed.
        """
        for with_druid, ahead in self._ahead.items():
            for made in ahead:
                self._remove(made.result(), with_druid=with_druid)
        for removed in self._removed:
            removed.result()
        self._workers.shutdown()
        for keyspace in self._made:
            remove_keyspace(replace(running(), name=keyspace, keyspace=keyspace))

    def _make(self, *, with_druid: bool) -> Servers:
        servers = replace(running(), name=a_name(), keyspace=self._keyspace())
        apply(kafka.plan(servers, OPTIONS))
        if with_druid:
            apply(druid.plan(servers, OPTIONS))
        return servers

    def _keyspace(self) -> str:
        try:
            keyspace = self._free.get_nowait()
        except Empty:
            keyspace = a_name()
            apply(cassandra.plan(replace(running(), keyspace=keyspace), OPTIONS))
            self._made.append(keyspace)
        else:
            _empty(replace(running(), keyspace=keyspace))
        return keyspace

    def _remove(self, servers: Servers, *, with_druid: bool) -> None:
        if with_druid:
            remove_sources(servers)
        remove_topics(servers)
        self._free.put(servers.keyspace_name)


def a_mesh(options: SchemaOptions = OPTIONS) -> Servers:
    """Return a complete new mesh, which `tests.support.removal.remove_mesh` removes."""
    servers = replace(running(), name=a_name())
    for server in (cassandra, kafka, druid):
        apply(server.plan(servers, options))
    return servers


def _empty(servers: Servers) -> None:
    session = CassandraSession(servers)
    tables = session.run(
        "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?", (servers.keyspace_name,)
    )
    for (table,) in tables:
        is_used = table in OLD_TIMESTAMPS or session.run(f"SELECT * FROM {table} LIMIT 1")
        if table != "schema_migrations" and is_used:
            session.run(f"TRUNCATE {table}")
    session.close()
