"""Facts about the servers and files that store a mesh's data, as adapters observe them for `hitmesh doctor`.

The values only describe; hitmesh.tools.doctor decides which facts are problems. Times are UTC ms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class StoreFile:
    """A file of the embedded stores.

    Attributes:
        name: file name.
        version: the schema version in the file; 0 if the file cannot be read.
        newest: the schema version that this program writes.
        error: why the file cannot be read; "" if it can.
        is_locked: whether the file cannot be read because another program has locked the file.
    """

    name: str
    version: int
    newest: int
    error: str = ""
    is_locked: bool = False


@dataclass(frozen=True, slots=True)
class KafkaTopic:
    """A topic that a mesh needs.

    Attributes:
        name: name of the topic.
        exists: whether the topic exists; all following fields are empty if it does not.
        partitions: number of partitions.
        replicas: number of replicas of the partition with the fewest replicas.
        in_sync: number of replicas that are in sync, for the partition with the fewest.
        leaderless: numbers of the partitions without a leader.
        config: the settings of the topic that hitmesh sets, by name.
        wanted: the values that `hitmesh init` would set with the given sizes.
        wanted_partitions: the number of partitions that `hitmesh init` would set with the given sizes.
        is_log: whether the topic is a log; other topics have rows for Druid.
        declared: number of partitions of the topic's declared log; None if unknown, or if the topic is no log.
        is_undeclared: whether the mesh has declared another log, or none, for this topic.
    """

    name: str
    exists: bool
    partitions: int = 0
    replicas: int = 0
    in_sync: int = 0
    leaderless: Sequence[int] = ()
    config: Mapping[str, str] = field(default_factory=dict)
    wanted: Mapping[str, str] = field(default_factory=dict)
    wanted_partitions: int = 0
    is_log: bool = False
    declared: int | None = None
    is_undeclared: bool = False


@dataclass(frozen=True, slots=True)
class CassandraKeyspace:
    """A mesh's keyspace.

    Attributes:
        name: name of the keyspace.
        replicas: number of replicas of each row; 0 if the keyspace does not exist.
        newest: number of the newest migration of this program.
        missing: the migrations that are not applied, such as `0031_keys`.
        problem: why the applied migrations do not fit this program; "" if they fit.
        down: addresses of the nodes that the driver sees as down.
        nodes: number of nodes.
        ttl_days: days for which a table keeps rows, by table; 0 means forever.
    """

    name: str
    replicas: int
    newest: int = 0
    missing: Sequence[str] = ()
    problem: str = ""
    down: Sequence[str] = ()
    nodes: int = 0
    ttl_days: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Expected:
    """The sizes that `hitmesh init` would get, by option, such as `hits_retention_days`.

    Attributes:
        values: all sizes.
        certain: the options whose values are certain; other sizes are defaults, which may not be those of the mesh.
    """

    values: Mapping[str, int | str]
    certain: frozenset[str]


@dataclass(frozen=True, slots=True)
class DruidSource:
    """A data source and its supervisor.

    Attributes:
        name: name of the data source.
        exists: whether the supervisor exists; the following fields up to `errors` are empty if it does not.
        is_suspended: whether the supervisor is suspended.
        state: Druid's state of the supervisor, such as RUNNING or UNHEALTHY_TASKS.
        lag: number of Kafka messages that are not ingested; None if unknown.
        tasks: number of active tasks.
        errors: the newest errors of the supervisor.
        unavailable_segments: number of segments that are not loaded by any data server.
        has_compaction: whether the data source has a compaction.
        has_retention: whether the data source has retention rules.
    """

    name: str
    exists: bool
    is_suspended: bool = False
    state: str = ""
    lag: int | None = None
    tasks: int = 0
    errors: Sequence[str] = ()
    unavailable_segments: int = 0
    has_compaction: bool = True
    has_retention: bool = True
