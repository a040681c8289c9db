"""Plan the Cassandra schema: a keyspace, its tables (created by numbered migrations), and row retention.

This module finds the differences between the existing schema and the options. The module decides which differences may
be applied. A plan may add replicas but never removes replicas.
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
# If a table's name begins with a prefix in `_RAW`, the table's rows are kept for `raw_ttl_days`. If a table's name
# begins with a prefix in `_SERIES`, the table's rows are kept for `series_ttl_days`.
_RAW: Final = ("raw_", "order_", "refund_", "rejected_")
# Rows in `raw_records` are kept a day longer than index entries, so that every indexed record exists. Rows in
# `series_settled` are kept a day longer than their version in `series_settled_days`, so that no reader sees a version
# that lacks rows.
_RECORDS: Final = "raw_records"
_SERIES: Final = ("series_",)
_SETTLED_ROWS: Final = "series_settled"


def plan(servers: Servers, options: SchemaOptions) -> list[Change]:
    """Return the existing objects and the necessary changes, in the order in which they must be applied.

    Raises:
        RetryError: Cassandra is unavailable.
        FatalError: the existing schema was made by another program or changed by hand.
    """
    session = CassandraSession(servers, in_keyspace=False)
    try:
        copies = copies_in(session, servers.keyspace_name)
        ttl_s = ttls_in(session, servers.keyspace_name)
    finally:
        session.close()
    applied = _applied(servers) if "schema_migrations" in ttl_s else {}
    check(applied)
    return [
        _keyspace(servers, copies, options.replication),
        *(_tables(servers, migration, migration.number in applied) for migration in migrations()),
        *_kept(servers, ttl_s, options),
    ]


def _keyspace(servers: Servers, copies: int, wanted: int) -> Change:
    name = servers.keyspace_name
    how = f"{name} WITH replication = {_replication(servers, wanted)}"
    if not copies:
        action, description = Action.CREATE, f"{wanted} replicas of each row"
        cql = f"CREATE KEYSPACE IF NOT EXISTS {how}"
    elif copies < wanted:
        action, description = (
            Action.CHANGE,
            f"raise the replicas of each row from {copies} to {wanted}; afterwards, run nodetool repair --full",
        )
        cql = f"ALTER KEYSPACE {how}"
    else:
        action, description, cql = Action.KEEP, f"{copies} replicas of each row", ""
    return Change(_SERVER, f"keyspace {name}", action, description, partial(_change, servers, cql, in_keyspace=False))


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
            description = f"new rows are kept {_days(wanted)}"
            if table in ttl_s:
                description += f" instead of {_days(now)}; existing rows keep their expiry"
            cql = f"ALTER TABLE {table} WITH default_time_to_live = {wanted * _DAY_S}"
            yield Change(_SERVER, f"table {table}", Action.CHANGE, description, partial(_change, servers, cql))


def _days_kept(table: str, options: SchemaOptions) -> int | None:
    if table == _RECORDS and options.raw_ttl_days:
        return options.raw_ttl_days + 1
    if table == _SETTLED_ROWS and options.series_ttl_days:
        return options.series_ttl_days + 1
    if table.startswith(_RAW):
        return options.raw_ttl_days
    if table.startswith(_SERIES):
        return options.series_ttl_days
    return None


def _days(number: int) -> str:
    return f"{number} days" if number else "forever"


def copies_in(session: CassandraSession, keyspace: str) -> int:
    """Return the keyspace's replication factor; 0 if the keyspace does not exist."""
    found = session.run("SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = ?", (keyspace,))
    if not found:
        return 0
    return max((int(value) for name, value in found[0].replication.items() if name != "class"), default=1)


def ttls_in(session: CassandraSession, keyspace: str) -> dict[str, int]:
    """Return the seconds for which each table of a keyspace keeps rows; 0 means forever."""
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
