"""What Druid is told about our data sources, as values: how rows are taken in, merged and kept.

Decides columns, sums and sketches of each source; asks nothing and sends nothing.
"""

from __future__ import annotations

from typing import Any, Final

from hitmesh.adapters.druid.columns import (
    DIMENSIONS,
    MARK,
    MARK_LOG_TIME,
    MARK_OFFSET,
    MEASURES,
    PRESENCE,
    SENT,
    TIME,
)
from hitmesh.adapters.schema_plan import SchemaOptions
from hitmesh.adapters.servers import Servers
from hitmesh.rollup_rows import TRAFFIC_SKETCHES, RowSource
from hitmesh.sketches import LG_K_UNION

Spec = dict[str, Any]

# Of what is folded as well: a fold to the size of a cell's sketch would count otherwise than a union of its parts.
UNION_SIZE: Final = 1 << LG_K_UNION
# Taken in by a task at a time, before it writes to its disk.
_MAX_ROWS_IN_MEMORY: Final = 200_000
_MAX_BYTES_IN_MEMORY: Final = 128 << 20
# The parts that a task writes to its disk before it merges them. Compressed, each column of each part takes 64 KiB of
# direct memory while they are merged: a task that read much would fail when it hands on, and so would the next one.
_PARTS: Final[Spec] = {"dimensionCompression": "uncompressed", "metricCompression": "none"}
KEEP_NOTHING: Final[list[Spec]] = [{"type": "dropForever"}]


def supervisor(servers: Servers, source: RowSource, options: SchemaOptions) -> Spec:
    """Returns how Druid reads a topic of rollups."""
    return {
        "type": "kafka",
        "context": {"useConcurrentLocks": True},
        "spec": {
            "dataSchema": data_schema(servers, source, options),
            "ioConfig": {
                "topic": servers.rollups(source),
                "inputFormat": {"type": "json", "assumeNewlineDelimited": True},
                "consumerProperties": {"bootstrap.servers": servers.kafka, "isolation.level": "read_committed"},
                "taskCount": options.task_count,
                "replicas": 1,
                "taskDuration": f"PT{options.task_minutes}M",
                "startDelay": "PT0S",
                "period": "PT2S",
                "useEarliestOffset": True,
                "completionTimeout": "PT30M",
            },
            "tuningConfig": {
                "type": "kafka",
                "maxRowsInMemory": _MAX_ROWS_IN_MEMORY,
                "maxBytesInMemory": _MAX_BYTES_IN_MEMORY,
                "indexSpecForIntermediatePersists": _PARTS,
                "intermediatePersistPeriod": "PT5M",
                "logParseExceptions": True,
            },
        },
    }


def data_schema(servers: Servers, source: RowSource, options: SchemaOptions) -> Spec:
    """Returns columns of a data source and how its rows are folded."""
    texts = [{"type": "string", "name": name} for name in ("site", *DIMENSIONS[source], MARK)]
    numbers = [{"type": "long", "name": name} for name in ("generation", "excluded")]
    return {
        "dataSource": servers.data_source(source),
        "timestampSpec": {"column": TIME, "format": "millis"},
        "dimensionsSpec": {"dimensions": [*texts[:1], *numbers, *texts[1:]]},
        "metricsSpec": _metrics(source, are_sketches=True),
        "granularitySpec": {
            "type": "uniform",
            "segmentGranularity": options.segment_granularity,
            "queryGranularity": "FIFTEEN_MINUTE",
            # Rows come folded by window, and hardly two windows have rows alike: to look for one like each row cost a
            # task a third of its time. They are folded when segments are merged.
            "rollup": False,
        },
    }


def compaction(servers: Servers, source: RowSource) -> Spec:
    """Returns how segments of a day are merged, and their rows folded, once its rows are no longer coming."""
    return {
        "dataSource": servers.data_source(source),
        "skipOffsetFromLatest": "P1D",
        "granularitySpec": {"segmentGranularity": "DAY", "queryGranularity": "FIFTEEN_MINUTE", "rollup": True},
        "metricsSpec": _metrics(source, are_sketches=False),
        "tuningConfig": {"partitionsSpec": {"type": "dynamic", "maxRowsPerSegment": 5_000_000}},
        "taskContext": {"useConcurrentLocks": True},
    }


def retention(options: SchemaOptions) -> list[Spec]:
    """Returns which days are kept loaded, first rule that fits."""
    copies = {"_default_tier": options.replication}
    if not options.rows_retention_days:
        return [{"type": "loadForever", "tieredReplicants": copies}]
    kept = {"type": "loadByPeriod", "period": f"P{options.rows_retention_days}D", "includeFuture": True}
    return [{**kept, "tieredReplicants": copies}, *KEEP_NOTHING]


def _metrics(source: RowSource, *, are_sketches: bool) -> list[Spec]:
    """Returns how values are folded.

    Args:
        source: which rows.
        are_sketches: whether `visitors` come as texts of sketches; else they are columns of Druid's own.
    """
    sketches = TRAFFIC_SKETCHES if source is RowSource.TRAFFIC else ()
    return [
        *({"type": "longSum", "name": name, "fieldName": name} for name in (*MEASURES[source], PRESENCE, SENT)),
        *({"type": "longMax", "name": name, "fieldName": name} for name in (MARK_OFFSET, MARK_LOG_TIME)),
        *(
            {
                "type": "thetaSketch",
                "name": name,
                "fieldName": name,
                "size": UNION_SIZE,
                **({"isInputThetaSketch": True} if are_sketches else {}),
            }
            for name in sketches
        ),
    ]
