"""Remove a mesh's topics, tables and data sources, with all data, from real servers.

Production code creates a mesh on servers, but never removes it.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.adapters.druid.client import DruidClient
from hitmesh.adapters.druid.specs import KEEP_NOTHING
from hitmesh.adapters.kafka.errors import error_of, unavailable
from hitmesh.adapters.kafka.schema import wanted_topics
from hitmesh.adapters.schema_plan import SchemaOptions
from hitmesh.adapters.servers import Servers
from hitmesh.model.rows.rollup_rows import RowSource

_CALL_S: Final = 30.0
_NONE: Final[dict[str, Any]] = {}
_COORDINATOR: Final = "/druid/coordinator/v1"


def remove_mesh(servers: Servers) -> None:
    """Remove all topics, tables and data sources of this mesh."""
    remove_sources(servers)
    remove_topics(servers)
    remove_keyspace(servers)


def remove_sources(servers: Servers) -> None:
    """Terminate the mesh's supervisors and delete its rows. The retention rule KEEP_NOTHING remains.

    A Druid task ends when its segments are handed off, or when no server will load these segments. The rule
    KEEP_NOTHING must therefore be set before the supervisors are terminated. Without KEEP_NOTHING, a task would wait
    forever for the handoff of deleted segments.
    """
    with closing(DruidClient(servers)) as client:
        for source in RowSource:
            name = servers.data_source(source)
            client.coordinator("POST", f"{_COORDINATOR}/rules/{name}", KEEP_NOTHING)
            client.coordinator("POST", f"/druid/indexer/v1/supervisor/{name}/terminate", missing=_NONE)
            client.coordinator("DELETE", f"{_COORDINATOR}/config/compaction/{name}", missing=_NONE)
            client.coordinator("DELETE", f"{_COORDINATOR}/datasources/{name}", missing=_NONE)


def remove_topics(servers: Servers) -> None:
    """Remove the mesh's topics that exist."""
    admin = AdminClient({"bootstrap.servers": servers.kafka, "log_level": 3})
    names = [wanted.name for wanted in wanted_topics(servers, SchemaOptions())]
    for done in admin.delete_topics(names, operation_timeout=_CALL_S).values():
        try:
            done.result()
        except KafkaException as error:
            if error_of(error).code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise unavailable(error, "removal of topics") from error


def remove_keyspace(servers: Servers) -> None:
    """Drop the mesh's keyspace, if it exists."""
    session = CassandraSession(servers, in_keyspace=False)
    try:
        session.change_schema(f"DROP KEYSPACE IF EXISTS {servers.keyspace_name}")
    finally:
        session.close()
