"""What `hitmesh init` would do, as values: options in, changes out; each change knows how to make itself.

Decides the shape of a plan only; what has to be there, each server's own `schema` module decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum


class Action(StrEnum):
    """What a plan does to a thing."""

    CREATE = "create"
    CHANGE = "change"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Change:
    """One thing of a server and what becomes of it.

    Attributes:
        server: kafka, cassandra or druid.
        thing: for example `topic hitmesh.hits`.
        action: KEEP where it is as it should be.
        says: what is made, or what differs and what the change will do, for people.
        apply: makes it so; making it so twice changes nothing.
    """

    server: str
    thing: str
    action: Action
    says: str
    apply: Callable[[], None] = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class SchemaOptions:
    """How large everything is made. The defaults are for one machine; production values in docs/data-model.md.

    Attributes:
        hits_partitions: of the topic of hits (decision A4); never changed once hits are in it.
        rollups_partitions: of each topic that Druid reads.
        replication: copies of each Kafka partition and of each Cassandra row.
        min_insync: copies that must have a record before it is acknowledged.
        hits_retention_days: how long Kafka keeps hits for replay.
        rollups_retention_days: how long Kafka keeps rows that Druid has.
        raw_ttl_days: how long raw records and order claims are kept; 0 = for good.
        series_ttl_days: how long partials are kept; 0 = for good.
        segment_granularity: of the segments that a Druid task makes: HOUR or DAY.
        task_count: Druid tasks of a data source.
        task_minutes: how long a Druid task reads before it hands its segments on.
        rows_retention_days: how long Druid keeps rows; 0 = for good.
    """

    hits_partitions: int = 4
    rollups_partitions: int = 2
    replication: int = 1
    min_insync: int = 1
    hits_retention_days: int = 7
    rollups_retention_days: int = 3
    raw_ttl_days: int = 0
    series_ttl_days: int = 0
    segment_granularity: str = "DAY"
    task_count: int = 1
    task_minutes: int = 15
    rows_retention_days: int = 0
