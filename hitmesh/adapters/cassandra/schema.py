"""What has to be in Cassandra: a keyspace, its tables by numbered migrations, and how long rows are kept.

Decides what differs from the options and what may be changed: copies are only added, never taken away.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

from hitmesh.adapters.cassandra.migrator import Migration, applied_to, check, migrate, migrations
from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.adapters.schema_plan import Action, Change, SchemaOptions
from hitmesh.adapters.servers import Servers
from hitmesh.model.zones import DAY_MS

_SERVER: Final = "cassandra"
_DAY_S: Final = DAY_MS // 1_000
# Tables of raw records and of what points to them, and of partials, by how their names begin.
_RAW: Final = ("raw_", "order_", "refund_", "rejected_")
# Kept a day longer than the index that points to it, so that whatever the index finds is there.
_RECORDS: Final = "raw_records"
_SERIES: Final = ("series_",)


def plan(servers: Servers, options: SchemaOptions) -> list[Change]:
    """Returns what is there and what would be made or changed, in the order in which it is to be applied.

    Raises:
        RetryError: Cassandra does not answer.
        FatalError: what is there was made by another program or changed by hand.
    """
    session = CassandraSession(servers, in_keyspace=False)
    try:
        copies = _copies(session, servers.keyspace_name)
        ttl_s = _ttls(session, servers.keyspace_name)
    finally:
        session.close()
    applied = _applied(servers) if "schema_migrations" in ttl_s else {}
    check(applied)
    return [
        _keyspace(servers, copies, options.replication),
        *(_tables(servers, migration, migration.number in applied) for migration in migrations()),
        *_kept(servers, ttl_s, options),
    ]


def drop(servers: Servers) -> None:
    """Removes the keyspace and all that is in it."""
    _change(servers, f"DROP KEYSPACE IF EXISTS {servers.keyspace_name}", in_keyspace=False)


def _keyspace(servers: Servers, copies: int, wanted: int) -> Change:
    name = servers.keyspace_name
    how = f"{name} WITH replication = {_replication(servers, wanted)}"
    if not copies:
        action, says = Action.CREATE, f"{wanted} copies of each row"
        cql = f"CREATE KEYSPACE IF NOT EXISTS {how}"
    elif copies < wanted:
        action, says = Action.CHANGE, f"{copies} copies of each row become {wanted}; then run nodetool repair --full"
        cql = f"ALTER KEYSPACE {how}"
    else:
        action, says, cql = Action.KEEP, f"{copies} copies of each row", ""
    return Change(_SERVER, f"keyspace {name}", action, says, partial(_change, servers, cql, in_keyspace=False))


def _replication(servers: Servers, copies: int) -> str:
    if copies == 1:
        return "{'class': 'SimpleStrategy', 'replication_factor': 1}"
    return f"{{'class': 'NetworkTopologyStrategy', '{servers.datacenter}': {copies}}}"


def _tables(servers: Servers, migration: Migration, is_applied: bool) -> Change:
    thing = f"migration {migration.number:04d}_{migration.name}"
    tables = ", ".join(migration.tables) or "changes tables"
    action = Action.KEEP if is_applied else Action.CREATE
    return Change(_SERVER, thing, action, tables, partial(_migrate, servers, migration))


def _kept(servers: Servers, ttl_s: dict[str, int], options: SchemaOptions) -> Iterator[Change]:
    made = [table for migration in migrations() for table in migration.tables]
    for table in sorted({*made, *ttl_s}):
        wanted = _days_kept(table, options)
        if wanted is None:
            continue
        now = ttl_s.get(table, 0) // _DAY_S
        if now == wanted:
            yield Change(_SERVER, f"table {table}", Action.KEEP, f"rows are kept {_days(now)}", lambda: None)
        else:
            says = f"rows written from now on are kept {_days(wanted)}"
            if table in ttl_s:
                says += f" instead of {_days(now)}; those that are there keep their time"
            cql = f"ALTER TABLE {table} WITH default_time_to_live = {wanted * _DAY_S}"
            yield Change(_SERVER, f"table {table}", Action.CHANGE, says, partial(_change, servers, cql))


def _days_kept(table: str, options: SchemaOptions) -> int | None:
    if table == _RECORDS and options.raw_ttl_days:
        return options.raw_ttl_days + 1
    if table.startswith(_RAW):
        return options.raw_ttl_days
    if table.startswith(_SERIES):
        return options.series_ttl_days
    return None


def _days(number: int) -> str:
    return f"{number} days" if number else "for good"


def _copies(session: CassandraSession, keyspace: str) -> int:
    """Returns how many copies a keyspace has of each row; 0 when there is no such keyspace."""
    found = session.run("SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?", (keyspace,))
    if not found:
        return 0
    return max((int(value) for name, value in found[0].replication.items() if name != "class"), default=1)


def _ttls(session: CassandraSession, keyspace: str) -> dict[str, int]:
    rows = session.run(
        "SELECT table_name, default_time_to_live FROM system_schema.tables WHERE keyspace_name = ?", (keyspace,)
    )
    return {row.table_name: row.default_time_to_live for row in rows}


def _applied(servers: Servers) -> dict[int, str]:
    session = CassandraSession(servers)
    try:
        return applied_to(session)
    finally:
        session.close()


def _migrate(servers: Servers, migration: Migration) -> None:
    session = CassandraSession(servers)
    try:
        migrate(session, migration)
    finally:
        session.close()


def _change(servers: Servers, cql: str, *, in_keyspace: bool = True) -> None:
    if not cql:
        return
    session = CassandraSession(servers, in_keyspace=in_keyspace)
    try:
        session.change_schema(cql)
    finally:
        session.close()
