"""How far the log is read: the closed days and the bounds for a scan (settlement)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hitmesh.model.closing import first_open_day
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic
from hitmesh.ports import ProgressReader, SeriesStore


@dataclass(frozen=True, slots=True)
class ScanBounds:
    """The bounds for a scan: exclusive upper offsets by partition, for hits and for all topics."""

    hits: Mapping[PartitionId, int]
    all: Mapping[PartitionId, int]


def scan_bounds(progress: ProgressReader) -> ScanBounds:
    """Return the committed offsets: a scan below these offsets finds every record stored raw."""
    hits = _offsets(progress, Topic.HITS)
    return ScanBounds(hits, {**hits, **_offsets(progress, Topic.REJECTED)})


def closed_before(series: SeriesStore, progress: ProgressReader) -> int:
    """Return the first day not closed for every declared partition, judged by stored partials.

    A settlement is compared with the stream's results for the day, so all partials must be stored.
    """
    return day_reached(series.flushed(), progress.progress(Topic.HITS))


def day_reached(reached: Mapping[PartitionId, PartitionProgress], declared: Iterable[PartitionId]) -> int:
    """Return the first day that these positions do not close for every declared partition."""
    return first_open_day(
        min((reached[partition].log_time if partition in reached else 0 for partition in declared), default=0)
    )


def _offsets(progress: ProgressReader, topic: Topic) -> dict[PartitionId, int]:
    return {partition: done.next_offset for partition, done in progress.progress(topic).items()}
