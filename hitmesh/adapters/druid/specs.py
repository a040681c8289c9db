"""What Druid is told about our data sources, as values: how rows are taken in, merged and kept.

Decides columns, sums and sketches of each source; asks nothing and sends nothing.
"""

from __future__ import annotations

from typing import Any, Final

from hitmesh.adapters.druid.columns import (
    MARK,
    MARK_LOG_TIME,
    MARK_OFFSET,
    MEASURES,
    PRESENCE,
    SENT,
    SORTED,
    TIME,
)
from hitmesh.adapters.schema_plan import SchemaOptions
from hitmesh.adapters.servers import Servers
from hitmesh.model.rows.rollup_rows import TRAFFIC_SKETCHES, RowSource
from hitmesh.model.sketches.unions import LG_K_UNION

Spec = dict[str, Any]

# Of what is folded as well: a fold to the size of a cell's sketch would count otherwise than a union of its parts.
UNION_SIZE: Final = 1 << LG_K_UNION
# Taken in by a task at a time, before it writes to its disk.
_MAX_ROWS_IN_MEMORY: Final = 200_000
_MAX_BYTES_IN_MEMORY: Final = 128 << 20
# The parts that a task writes to its disk before it merges them. Compressed, each column of each part takes 64 KiB of
# direct memory while they are merged: a task that read much would fail when it hands on, and so would the next one.
_PARTS: Final[Spec] = {"dimensionCompression": "uncompressed", "metricCompression": "none"}
_INDEXED: Final = ("site", MARK)
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
    """Returns columns of a data source, as they are taken in: one for one, nothing is folded yet."""
    return {
        "dataSource": servers.data_source(source),
        "timestampSpec": {"column": TIME, "format": "millis"},
        # Numbers are taken in as they are. As metrics each would be an object with a sum of its own for every row: of
        # all that a task does with a row that took the most, and most of its memory.
        "dimensionsSpec": {"dimensions": [*_keys(source), *_numbers(*_sums(source), MARK_OFFSET, MARK_LOG_TIME)]},
        "metricsSpec": _sketches(source, are_texts=True),
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
        # From the end of the newest day. Late hits come for a day until 26 h after its end, and settled rows then: a
        # day that is merged sooner is merged again for each of its segments that is handed on, a quarter of an hour's.
        "skipOffsetFromLatest": "P3D",
        "granularitySpec": {"segmentGranularity": "DAY", "queryGranularity": "FIFTEEN_MINUTE", "rollup": True},
        "dimensionsSpec": {"dimensions": _keys(source)},
        "metricsSpec": [
            *({"type": "longSum", "name": name, "fieldName": name} for name in _sums(source)),
            *({"type": "longMax", "name": name, "fieldName": name} for name in (MARK_OFFSET, MARK_LOG_TIME)),
            *_sketches(source, are_texts=False),
        ],
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


def _keys(source: RowSource) -> list[Spec]:
    """Returns the columns of which rows that are folded have the same values, in the order that rows are sorted by.

    Every question is about sites or marks. What else it asks is looked up in the rows that those leave: an index of
    each column would be much of the work of writing and merging.
    """
    *texts, mark = [
        {"type": "string", "name": name, "createBitmapIndex": name in _INDEXED}
        for name in ("site", *SORTED[source], MARK)
    ]
    return [*texts, *_numbers("generation", "excluded"), mark]


def _sums(source: RowSource) -> tuple[str, ...]:
    return (*MEASURES[source], PRESENCE, SENT)


def _numbers(*names: str) -> list[Spec]:
    return [{"type": "long", "name": name} for name in names]


def _sketches(source: RowSource, *, are_texts: bool) -> list[Spec]:
    """Returns how sketches are folded.

    Args:
        source: of which rows.
        are_texts: whether they come as texts; else they are columns of Druid's own.
    """
    names = TRAFFIC_SKETCHES if source is RowSource.TRAFFIC else ()
    reading = {"isInputThetaSketch": True} if are_texts else {}
    return [{"type": "thetaSketch", "name": name, "fieldName": name, "size": UNION_SIZE, **reading} for name in names]
