"""Facts about a mesh's keyspace in Cassandra: replicas, migrations, nodes, retention, time. Changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hitmesh.adapters.cassandra.logs import DeclaredLogs
from hitmesh.adapters.cassandra.migrator import applied_to, check, migrations
from hitmesh.adapters.cassandra.schema import copies_in, ttls_in
from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.adapters.servers import Servers
from hitmesh.model.errors import FatalError
from hitmesh.model.positions import Topic
from hitmesh.model.server_facts import CassandraKeyspace

_DAY_S: Final = 86_400
_REGISTER: Final = "schema_migrations"


def cassandra_keyspace(servers: Servers, timeout_s: float) -> CassandraKeyspace:
    """Return the facts about the mesh's keyspace; `timeout_s` is the time limit of each request.

    Raises:
        Unavailable: Cassandra does not answer.
    """
    name = servers.keyspace_name
    session = CassandraSession(servers, in_keyspace=False, request_timeout_s=timeout_s)
    try:
        copies = copies_in(session, name)
        ttl_s = ttls_in(session, name)
        nodes = session.nodes()
    finally:
        session.close()
    if not copies:
        return CassandraKeyspace(name, 0)
    applied = _applied(servers, timeout_s) if _REGISTER in ttl_s else {}
    missing = [f"{each.number:04d}_{each.name}" for each in migrations() if each.number not in applied]
    return CassandraKeyspace(
        name=name,
        replicas=copies,
        newest=migrations()[-1].number,
        missing=missing,
        problem=_problem(applied),
        down=[address for address, is_up in nodes.items() if not is_up],
        nodes=len(nodes),
        ttl_days={table: seconds // _DAY_S for table, seconds in ttl_s.items()},
    )


def cassandra_now(servers: Servers, timeout_s: float) -> int:
    """Return the time of the node that answers, in UTC ms."""
    session = CassandraSession(servers, in_keyspace=False, request_timeout_s=timeout_s)
    try:
        (row,) = session.run("SELECT toUnixTimestamp(now()) AS at FROM system.local")
        return int(row.at)
    finally:
        session.close()


def declared_logs(servers: Servers, timeout_s: float) -> dict[Topic, tuple[str, int]]:
    """Return the id and the number of partitions of each topic's declared log; a topic without a log is left out.

    Raises:
        Unavailable: Cassandra does not answer.
        FatalError: the keyspace or its tables do not exist.
    """
    session = CassandraSession(servers, request_timeout_s=timeout_s)
    logs = DeclaredLogs(session)
    try:
        session.run("SELECT number FROM logs LIMIT 1")
        return {topic: (logs.log_id(topic), logs.partitions(topic)) for topic in Topic if _has_log(logs, topic)}
    finally:
        session.close()


def _has_log(logs: DeclaredLogs, topic: Topic) -> bool:
    try:
        return bool(logs.log_id(topic))
    except FatalError:
        return False


def _applied(servers: Servers, timeout_s: float) -> dict[int, str]:
    session = CassandraSession(servers, request_timeout_s=timeout_s)
    try:
        return applied_to(session)
    finally:
        session.close()


def _problem(applied: Mapping[int, str]) -> str:
    try:
        check(applied)
    except FatalError as error:
        return error.message
    return ""
