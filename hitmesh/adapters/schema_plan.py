"""Define the types of a schema plan: the options that a plan follows, and the changes that a plan lists.

This module defines the types, and decides which options contradict each other; each server's `schema` module decides
the required state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from hitmesh.model.errors import RefusedError
from hitmesh.model.reasons import LocalReason

# Days by which rows outlive the hits topic. A day closes 26 hours after its end, and is settled after that.
DAYS_UNTIL_SETTLED: Final = 3


class Action(StrEnum):
    """The action that a plan takes on a part of the schema."""

    CREATE = "create"
    CHANGE = "change"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Change:
    """A part of a server's schema and the action planned for this part.

    Attributes:
        server: kafka, cassandra or druid.
        thing: for example `topic hitmesh.hits`.
        action: the planned action: CREATE for a missing part, CHANGE for a part that differs, KEEP for any other part.
        description: text for the operator about the part to create, or about the difference and the effect of the
            change.
        apply: applies the change; idempotent.
    """

    server: str
    thing: str
    action: Action
    description: str
    apply: Callable[[], None] = field(compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class SchemaOptions:
    """The options of a schema: sizes, copies and retention of the parts that a plan creates.

    The defaults suit a single machine; docs/data-model.md lists values for production.

    Attributes:
        hits_partitions: number of partitions in the hits topic (architecture A4); must not change after the first hit.
        rollups_partitions: number of partitions in each topic that Druid reads.
        replication: number of copies of each Kafka partition, Cassandra row and Druid segment.
        min_insync: number of replicas that must store a record before Kafka acknowledges the record.
        hits_retention_days: days for which Kafka keeps hits, for replay.
        rollups_retention_days: days for which Kafka keeps the rows that Druid ingests.
        raw_ttl_days: days for which raw records and order claims are kept; 0 means forever.
        series_ttl_days: days for which partials are kept; 0 means forever.
        segment_granularity: the time span of each segment that a Druid ingestion task writes, HOUR or DAY.
        task_count: number of Druid ingestion tasks that read the topic of each data source.
        task_minutes: minutes for which an ingestion task reads before it publishes its segments.
        rows_retention_days: days for which Druid keeps rows; 0 means forever.
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


def checked(options: SchemaOptions) -> SchemaOptions:
    """Return the options, if no option contradicts another option.

    Raises:
        RefusedError: INVALID_CONFIG, if a record needs more replicas than exist, or if rows that a settlement reads
            expire before the settlement. The stream may be stopped for as long as Kafka keeps hits.
    """
    if options.min_insync > options.replication:
        raise _refused(
            "--min-insync", options.min_insync, f"use at most {options.replication}, the value of --replication"
        )
    shortest = options.hits_retention_days + DAYS_UNTIL_SETTLED
    for name, days in (("--raw-ttl-days", options.raw_ttl_days), ("--series-ttl-days", options.series_ttl_days)):
        if 0 < days < shortest:
            cure = (
                f"rows must outlive --hits-retention-days ({options.hits_retention_days}) by {DAYS_UNTIL_SETTLED} "
                f"days, so that every day is settled first: use 0 (forever) or at least {shortest}"
            )
            raise _refused(name, days, cure)
    return options


def _refused(name: str, value: int, cure: str) -> RefusedError:
    return RefusedError(f"{name} {value} is not possible: {cure}", field=name, reason=LocalReason.INVALID_CONFIG)
