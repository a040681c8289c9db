"""Build Druid's specifications as values, for ingestion, compaction and retention of the data sources.

The specifications define the columns, sums and sketches of each data source; hitmesh.adapters.druid.schema submits
them.
"""

from __future__ import annotations

from typing import Any, Final

from hitmesh.adapters.schema_plan import SchemaOptions
from hitmesh.adapters.servers import Servers
from hitmesh.adapters.shared.druid_columns import (
    MARK,
    MARK_LOG_TIME,
    MARK_OFFSET,
    MEASURES,
    PRESENCE,
    SENT,
    SORTED,
    TIME,
)
from hitmesh.model.limits import LG_K_UNION
from hitmesh.model.rows.rollup_rows import TRAFFIC_SKETCHES, RowSource
from hitmesh.runtime.tls_files import AUTHORITIES, COMBINED

Spec = dict[str, Any]

# Every sketch in Druid may have the maximum size of a union (LG_K_UNION), both at ingestion and after folding. With
# smaller sketches, the estimate for a folded row would differ from the estimate for the original rows.
UNION_SIZE: Final = 1 << LG_K_UNION
# Limits on the rows that a task holds in memory; beyond a limit, the task writes the rows to disk.
_MAX_ROWS_IN_MEMORY: Final = 200_000
_MAX_BYTES_IN_MEMORY: Final = 128 << 20
# Encoding of the intermediate segments that a task writes to disk and later merges. With compression, each column of
# each intermediate segment would take 64 KiB of direct memory during the merge. A task with many rows would run out of
# direct memory at handover, and so would the next task.
_PARTS: Final[Spec] = {"dimensionCompression": "uncompressed", "metricCompression": "none"}
_INDEXED: Final = ("site", MARK)
KEEP_NOTHING: Final[list[Spec]] = [{"type": "dropForever"}]


def _consumer(servers: Servers) -> Spec:
    """Return the properties with which Druid's tasks read Kafka; their client reads key and certificate as PEM."""
    properties: Spec = {"bootstrap.servers": servers.kafka, "isolation.level": "read_committed"}
    if servers.tls_druid:
        properties |= {
            "security.protocol": "SSL",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": f"{servers.tls_druid}/{COMBINED}",
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": f"{servers.tls_druid}/{AUTHORITIES}",
        }
    return properties


def supervisor(servers: Servers, source: RowSource, options: SchemaOptions) -> Spec:
    """Return the spec of the supervisor that ingests a rollup topic."""
    return {
        "type": "kafka",
        "context": {"useConcurrentLocks": True},
        # `hitmesh init` resumes a suspended supervisor, because a suspended supervisor differs from this spec.
        "suspended": False,
        "spec": {
            "dataSchema": data_schema(servers, source, options),
            "ioConfig": {
                "topic": servers.rollups(source),
                "inputFormat": {"type": "json", "assumeNewlineDelimited": True},
                "consumerProperties": _consumer(servers),
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
    """Return the columns with which a data source ingests rows; ingestion does not fold rows."""
    return {
        "dataSource": servers.data_source(source),
        "timestampSpec": {"column": TIME, "format": "millis"},
        # Numbers are declared as dimensions, not as metrics. If numbers were metrics, most of a task's time and memory
        # would go to a sum object for each metric of each row.
        "dimensionsSpec": {"dimensions": [*_keys(source), *_numbers(*_sums(source), MARK_OFFSET, MARK_LOG_TIME)]},
        "metricsSpec": _sketches(source, are_texts=True),
        "granularitySpec": {
            "type": "uniform",
            "segmentGranularity": options.segment_granularity,
            "queryGranularity": "FIFTEEN_MINUTE",
            # The sender has already folded the rows of each window, and two windows rarely have rows with equal keys.
            # Druid folds rows only when segments are merged, because the search for equal keys took a third of a task's
            # time.
            "rollup": False,
        },
    }


def compaction(servers: Servers, source: RowSource) -> Spec:
    """Return the compaction spec: when a day gets no more rows, Druid merges the day's segments and folds rows."""
    return {
        "dataSource": servers.data_source(source),
        # Druid does not merge the last three days before the end of the newest day. Late hits for a day arrive until 26
        # h after the day's end, and settled rows arrive after that time. If a day were merged too early, Druid would
        # merge the day again after each handover of a segment, every 15 minutes.
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
    """Return the rules that decide which days stay loaded; the first rule that matches a day applies."""
    copies = {"_default_tier": options.replication}
    if not options.rows_retention_days:
        return [{"type": "loadForever", "tieredReplicants": copies}]
    kept = {"type": "loadByPeriod", "period": f"P{options.rows_retention_days}D", "includeFuture": True}
    return [{**kept, "tieredReplicants": copies}, *KEEP_NOTHING]


def _keys(source: RowSource) -> list[Spec]:
    """Return the key columns, in sort order; rows with equal keys are folded.

    Only sites and marks are indexed. Every query selects sites or marks through an index; a query's other filters scan
    the selected rows. An index on each column would make writing and merging much slower.
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
    """Return the aggregations that unite sketches.

    Args:
        source: the row source.
        are_texts: whether sketches arrive as text; if false, the sketches are native Druid columns.
    """
    names = TRAFFIC_SKETCHES if source is RowSource.TRAFFIC else ()
    reading = {"isInputThetaSketch": True} if are_texts else {}
    return [{"type": "thetaSketch", "name": name, "fieldName": name, "size": UNION_SIZE, **reading} for name in names]
