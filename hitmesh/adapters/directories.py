"""Open only the directory of sites and keys, and the merchants, without the mesh's other stores and their libraries.

Composition roots that need only sites and keys call `open_directory`; hitmesh.adapters.factory opens all stores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from hitmesh.adapters.embedded.directory import EmbeddedSiteDirectory
from hitmesh.adapters.embedded.disk import probe_disk
from hitmesh.adapters.embedded.merchants import EmbeddedMerchants
from hitmesh.adapters.embedded.schema import DIRECTORY_SCHEMA
from hitmesh.adapters.embedded.sqlite import Database
from hitmesh.adapters.memory.directory import MemorySiteDirectory
from hitmesh.adapters.memory.merchants import MemoryMerchants
from hitmesh.adapters.served import Probes, Served
from hitmesh.adapters.servers import SCHEME, parse_servers
from hitmesh.adapters.urls import MEMORY, embedded_directory, without_driver
from hitmesh.model.limits import UNKNOWN_KEYS_S
from hitmesh.ports import Clock, Merchants, SiteDirectory


def _nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True)
class OpenedDirectory:
    """The directory and the merchants of a store, with functions to check and close the store.

    `check` opens the file and migrates the schema. If the file is unusable, the service therefore fails at its start
    (StoreCorrupt, Unavailable). For a store without files, `check` does nothing. `close` closes the file or the
    connections; a second call changes nothing. `probes` are those of hitmesh.adapters.stores.Stores.
    """

    port: SiteDirectory
    merchants: Merchants
    check: Callable[[], None] = _nothing
    close: Callable[[], None] = _nothing
    probes: Probes = field(default_factory=dict)


def open_directory(url: str, clock: Clock, *, unknown_keys_s: int = UNKNOWN_KEYS_S) -> OpenedDirectory:
    """Return the directory of a store URL. Arguments and errors are those of hitmesh.adapters.factory.open_stores."""
    if url == MEMORY:
        return OpenedDirectory(MemorySiteDirectory(), MemoryMerchants())
    if url.startswith(SCHEME):
        return _on_servers(url, clock, unknown_keys_s)
    return in_files(embedded_directory(url), clock, unknown_keys_s)


def in_files(directory: Path, clock: Clock, unknown_keys_s: int) -> OpenedDirectory:
    """Return the directory of sites and keys. The file is directory.db in `directory`."""
    file = Database(directory / "directory.db", DIRECTORY_SCHEMA, secure_delete=True)
    port = EmbeddedSiteDirectory(file, clock, unknown_keys_s=unknown_keys_s)
    probes: Probes = {Served.FILES: partial(probe_disk, directory)}
    return OpenedDirectory(port, EmbeddedMerchants(file), file.open, file.close, probes)


def _on_servers(url: str, clock: Clock, unknown_keys_s: int) -> OpenedDirectory:
    servers = parse_servers(url)
    try:
        from hitmesh.adapters.cassandra.directory import CassandraSiteDirectory
        from hitmesh.adapters.cassandra.merchants import CassandraMerchants
        from hitmesh.adapters.cassandra.probe import CassandraProbe
        from hitmesh.adapters.cassandra.session import CassandraSession
    except ModuleNotFoundError as error:
        raise without_driver(url, error) from error
    session = CassandraSession(servers)
    directory = CassandraSiteDirectory(session, clock, unknown_keys_s=unknown_keys_s)
    probes: Probes = {Served.TABLES: CassandraProbe(session)}
    return OpenedDirectory(directory, CassandraMerchants(session), close=session.close, probes=probes)
