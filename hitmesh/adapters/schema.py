"""What has to be there before a mesh can run on servers: topics, tables, data sources, in the order they are made.

Decides the order only: Cassandra first, since topics are declared in it. Called by `hitmesh init` and `hitmesh dev`.
"""

from __future__ import annotations

from hitmesh.adapters.cassandra import schema as cassandra
from hitmesh.adapters.druid import schema as druid
from hitmesh.adapters.kafka import schema as kafka
from hitmesh.adapters.schema_plan import Change, SchemaOptions
from hitmesh.adapters.servers import Servers


def plan(servers: Servers, options: SchemaOptions) -> list[Change]:
    """Returns what is there and what would be made or changed, in the order in which it is to be applied.

    Raises:
        RetryError: a server does not answer.
        RefusedError: an option cannot be had any more, for example another number of partitions.
    """
    return [
        *cassandra.plan(servers, options),
        *kafka.plan(servers, options),
        *druid.plan(servers, options),
    ]


def drop(servers: Servers) -> None:
    """Removes everything of this mesh from the servers, data included."""
    druid.drop(servers)
    kafka.drop(servers)
    cassandra.drop(servers)
