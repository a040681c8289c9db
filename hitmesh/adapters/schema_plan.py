"""A schema plan as values: options in, changes out; each change can apply itself.

Defines only the shape of a plan; each server's `schema` module decides the required state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum


class Action(StrEnum):
    """The action of a change."""

    CREATE = "create"
    CHANGE = "change"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Change:
    """A part of a server's schema and the action planned for this part.

    Attributes:
        server: kafka, cassandra or druid.
        thing: for example `topic hitmesh.hits`.
        action: KEEP where nothing differs.
        description: text for people: the part that is created, or the difference and the effect of the change.
        apply: applies the change; idempotent.
    """

    server: str
    thing: str
    action: Action
    description: str
    apply: Callable[[], None] = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class SchemaOptions:
    """Sizes of all created parts. Defaults suit a single machine; production values are in docs/data-model.md.

    Attributes:
        hits_partitions: partitions in the hits topic (decision A4); never changed once the topic has hits.
        rollups_partitions: partitions in each topic that Druid reads.
        replication: copies per Kafka partition and per Cassandra row.
        min_insync: copies that must have a record before the record is acknowledged.
        hits_retention_days: how long Kafka keeps hits for replay.
        rollups_retention_days: how long Kafka keeps rows that Druid has ingested.
        raw_ttl_days: how long raw records and order claims are kept; 0 = forever.
        series_ttl_days: how long partials are kept; 0 = forever.
        segment_granularity: span covered by a segment from a Druid task: HOUR or DAY.
        task_count: Druid tasks per data source.
        task_minutes: how long a Druid task reads before it publishes its segments.
        rows_retention_days: how long Druid keeps rows; 0 = forever.
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
