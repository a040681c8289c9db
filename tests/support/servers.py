"""Real Kafka, Cassandra and Druid for tests. The servers are started once, and each test may get a separate mesh.

If HITMESH_TEST_SERVERS contains the store URL of existing servers, the tests use these servers. If HITMESH_TEST_SERVERS
is not set, `hitmesh stack` starts servers. The servers' home is HITMESH_TEST_STACK_HOME, by default a directory in
the repository. The next run of the tests uses the same home.
"""

from __future__ import annotations

import os
import secrets
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
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
from hitmesh.model.errors import Unavailable
from tests.support.removal import remove_keyspace, remove_sources, remove_topics
from tests.support.waiting import eventually

VARIABLE: Final = "HITMESH_TEST_SERVERS"
HOME: Final = Path(os.environ.get("HITMESH_TEST_STACK_HOME") or Path(__file__).parents[2] / ".stack")
# A progress mark counts only after it has been visible for this time in both data sources. The tests of Druid show why
# the margin is needed.
MARK_MARGIN_MS: Final = 300
OPTIONS: Final = SchemaOptions(hits_partitions=4, rollups_partitions=2)
# Number of meshes that are made in advance, without and with Druid's data sources. Druid takes 4 s to start reading,
# and the shortest tests take 2 s.
AHEAD: Final = 1
AHEAD_WITH_DRUID: Final = 2
# Numbers of writes to each table since the server's start.
_WRITES: Final = "SELECT keyspace_name, table_name, count FROM system_views.local_write_latency"


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

    Meshes are created in advance and removed in the background, because servers need seconds for creating or
    removing a mesh. Keyspaces are
    emptied and used again, because creating or dropping their tables takes seconds.
    """

    def __init__(self) -> None:
        running()  # start the servers now, so that no two threads start them concurrently
        self._workers = ThreadPoolExecutor(4, thread_name_prefix="meshes")
        self._cassandra = CassandraSession(running(), in_keyspace=False)
        assert not self._cassandra.run("SELECT peer FROM system.peers"), "only a single node counts all writes"
        # The number of writes to each table when the table was last emptied.
        self._writes: dict[tuple[str, str], int] = {}
        self._keyspaces: SimpleQueue[Future[str]] = SimpleQueue()
        self._made: list[str] = []
        self._ahead: deque[Future[Servers]] = deque()
        self._ahead_with_druid: deque[Future[Servers]] = deque()
        self._removed: list[Future[None]] = []

    def fresh(self, *, with_druid: bool) -> Servers:
        """Return an empty mesh, and begin to create the next meshes.

        With `with_druid`, the mesh has data sources in Druid.
        """
        if with_druid:
            while len(self._ahead_with_druid) <= AHEAD_WITH_DRUID:
                self._ahead_with_druid.append(self._workers.submit(_add_druid, self._next()))
            return self._ahead_with_druid.popleft().result()
        mesh = self._next()
        while len(self._ahead) < AHEAD:
            self._ahead.append(self._workers.submit(self._make))
        return mesh.result()

    def _next(self) -> Future[Servers]:
        return self._ahead.popleft() if self._ahead else self._workers.submit(self._make)

    def release(self, servers: Servers, *, with_druid: bool) -> None:
        """Remove the mesh's topics and data sources in the background, and empty its keyspace for another mesh."""
        self._keyspaces.put(self._workers.submit(self._emptied, servers.keyspace_name))
        self._removed.append(self._workers.submit(_remove, servers, with_druid=with_druid))

    def drop(self) -> None:
        """Remove everything.

        Raises:
            Exception: the removal of a mesh failed.
        """
        for mesh in self._ahead:
            _remove(mesh.result(), with_druid=False)
        for mesh in self._ahead_with_druid:
            _remove(mesh.result(), with_druid=True)
        for removed in self._removed:
            removed.result()
        self._workers.shutdown()
        for keyspace in self._made:
            remove_keyspace(replace(running(), keyspace=keyspace))
        self._cassandra.close()

    def _make(self) -> Servers:
        servers = replace(running(), name=a_name(), keyspace=self._keyspace())
        apply(kafka.plan(servers, OPTIONS))
        return servers

    def _keyspace(self) -> str:
        """Return an empty keyspace: a keyspace of an earlier test, or a new keyspace if other meshes use them all."""
        try:
            return self._keyspaces.get_nowait().result()
        except Empty:
            keyspace = a_name()
            apply(cassandra.plan(replace(running(), keyspace=keyspace), OPTIONS))
            self._made.append(keyspace)
            return keyspace

    def _emptied(self, keyspace: str) -> str:
        """Empty every table that was written after it was last emptied. Return the keyspace.

        A table without rows is emptied too, because its tombstones would hide rows with older write timestamps.
        """
        for table, count in self._counted(keyspace).items():
            if table != "schema_migrations" and count > self._writes.get((keyspace, table), 0):
                self._cassandra.run(f"TRUNCATE {keyspace}.{table}")
                self._writes[keyspace, table] = count
        return keyspace

    def _counted(self, keyspace: str) -> dict[str, int]:
        """Return the number of writes to each table. The query fails while another worker drops a keyspace."""
        found: dict[str, int] = {}

        def is_counted() -> bool:
            with suppress(Unavailable):
                rows = self._cassandra.run(_WRITES)
                found.update({row.table_name: row.count for row in rows if row.keyspace_name == keyspace})
            return bool(found)

        eventually(is_counted, f"the writes to {keyspace} are counted")
        return found


def _add_druid(mesh: Future[Servers]) -> Servers:
    servers = mesh.result()
    apply(druid.plan(servers, OPTIONS))
    return servers


def _remove(servers: Servers, *, with_druid: bool) -> None:
    if with_druid:
        remove_sources(servers)
    remove_topics(servers)


def a_mesh(options: SchemaOptions = OPTIONS, on: Servers | None = None) -> Servers:
    """Return a complete new mesh, which `tests.support.removal.remove_mesh` removes.

    The mesh is on the servers of this run, or on the servers in `on`.
    """
    servers = replace(on or running(), name=a_name())
    for server in (cassandra, kafka, druid):
        apply(server.plan(servers, options))
    return servers
