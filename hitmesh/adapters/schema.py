"""Plan the tables, topics and data sources that a mesh on servers needs, in the order of their creation.

Cassandra comes first because topics are declared in Cassandra. `hitmesh init` and `hitmesh dev` apply the plan.
"""

from __future__ import annotations

from hitmesh.adapters.cassandra import schema as cassandra
from hitmesh.adapters.druid import schema as druid
from hitmesh.adapters.kafka import schema as kafka
from hitmesh.adapters.schema_plan import Change, SchemaOptions
from hitmesh.adapters.servers import Servers


def plan(servers: Servers, options: SchemaOptions) -> list[Change]:
    """Return the existing, missing and differing parts of the schema, in the order in which changes must be applied.

    Raises:
        RetryError: a server does not answer.
        RefusedError: an option that cannot be changed after creation differs, for example the number of partitions.
    """
    return [
        *cassandra.plan(servers, options),
        *kafka.plan(servers, options),
        *druid.plan(servers, options),
    ]
