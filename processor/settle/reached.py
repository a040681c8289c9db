"""Determines how much of the log has been read: the closed days, and the bounds for a scan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hitmesh.model.closing import first_open_day
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic
from hitmesh.model.streams import StreamTable
from hitmesh.ports import MetricStore, ProgressReader, StreamStore
from processor.stream.stores import HasStreams


@dataclass(frozen=True, slots=True)
class ScanBounds:
    """A scan's bounds: each partition's end offset (exclusive), for hits and for all topics."""

    hits: Mapping[PartitionId, int]
    all: Mapping[PartitionId, int]


def scan_bounds(progress: ProgressReader) -> ScanBounds:
    """Return the committed offsets as a scan's bounds.

    All records below the committed offsets are stored as raw records, so a scan of the raw store finds them all.
    """
    hits = _offsets(progress, Topic.HITS)
    return ScanBounds(hits, {**hits, **_offsets(progress, Topic.REJECTED)})


def streams_in_use(stores: HasStreams, table: StreamTable) -> list[StreamStore]:
    """Return the live stream's stores. If reports read another stream, also return that stream's stores."""
    live = stores.stream(table.live.generation, is_shadow=False)
    return [live] if table.current is table.live else [live, stores.stream(table.current.generation, is_shadow=True)]


def closed_before(stores: HasStreams, table: StreamTable | None = None) -> int:
    """Return the first day that is not closed in all declared partitions, according to the stored partials.

    A settlement is compared with the partials from the stream that reports read, so the day's partials must be stored.
    """
    table = stores.streams.read() if table is None else table
    return min(
        day_reached(stream.series.flushed(), stream.progress.progress(Topic.HITS))
        for stream in streams_in_use(stores, table)
    )


def rows_closed_before(stores: HasStreams, metrics: MetricStore, table: StreamTable) -> int:
    """Return the first day with stream rows that may be missing from the metric store."""
    live, *shadow = streams_in_use(stores, table)
    ingested = (metrics.ingested_through(), *(stream.ingested_through() for stream in shadow))
    return min(day_reached(reached, live.progress.progress(Topic.HITS)) for reached in ingested)


def day_reached(reached: Mapping[PartitionId, PartitionProgress], declared: Iterable[PartitionId]) -> int:
    """Return the first day that is not closed in all `declared` partitions, according to the positions `reached`."""
    return first_open_day(
        min((reached[partition].log_time if partition in reached else 0 for partition in declared), default=0)
    )


def _offsets(progress: ProgressReader, topic: Topic) -> dict[PartitionId, int]:
    return {partition: done.next_offset for partition, done in progress.progress(topic).items()}
