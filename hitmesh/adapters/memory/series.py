"""Keep partials and settled series in memory."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from hitmesh.adapters.shared.partials import (
    NO_PARTIALS,
    as_kept,
    as_settled,
    newest,
    series,
)
from hitmesh.model.generations import STREAM_GENERATION
from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.rows.stream_columns import PARTIAL_COLUMNS, SERIES_COLUMNS
from hitmesh.model.sites import SiteDay


@dataclass(slots=True)
class _Values:
    partials: pl.DataFrame = field(default_factory=NO_PARTIALS.clone)
    settled: dict[tuple[SiteDay, int], pl.DataFrame] = field(default_factory=dict)
    flushed: dict[int, dict[PartitionId, PartitionProgress]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


class MemorySeriesStore:
    """Implements the port SeriesStore in memory.

    Args:
        values: the values of all streams; None creates an empty store.
        stream: the generation of the stream whose flushed positions this store holds.
    """

    def __init__(self, values: _Values | None = None, stream: int = STREAM_GENERATION) -> None:
        self._values = values or _Values()
        self._lock = self._values.lock
        self._stream = stream

    def of_stream(self, stream: int) -> MemorySeriesStore:
        """Return a store with the same partials and series, but with the flushed positions of the stream `stream`."""
        return MemorySeriesStore(self._values, stream)

    def put_partials(self, partials: pl.DataFrame) -> None:
        """Store partials; a partial with a smaller `written` than the stored partial is ignored."""
        put = as_kept(partials, PARTIAL_COLUMNS)
        with self._lock:
            self._values.partials = newest(pl.concat([self._values.partials, put]), PARTIAL_COLUMNS)

    def read(self, site: str, first_day: int, end_day: int, generation: int) -> pl.DataFrame:
        """Return the site's series for days in [first_day, end_day), as SERIES_COLUMNS.

        A settled day has the rows of its settled series, and any other day has the partials, added up over epochs.
        """
        days = pl.col("day").is_between(first_day, end_day, closed="left")
        wanted = (pl.col("site") == site) & (pl.col("generation") == generation) & days
        with self._lock:
            settled = {
                site_day.day: rows
                for (site_day, of_generation), rows in self._values.settled.items()
                if (site_day.site, of_generation) == (site, generation) and first_day <= site_day.day < end_day
            }
            streamed = self._values.partials.filter(wanted & ~pl.col("day").is_in(list(settled)))
        return series(pl.concat([streamed.select(list(SERIES_COLUMNS)), *settled.values()]))

    def put_settled(self, site_day: SiteDay, generation: int, rows: pl.DataFrame) -> None:
        """Store a site-day's settled series, replacing earlier settled series."""
        put = as_settled(rows, site_day)
        with self._lock:
            self._values.settled[site_day, generation] = put

    def note_flushed(self, through: Mapping[PartitionId, PartitionProgress]) -> None:
        """Record that all partials before these positions are stored; a position never moves back."""
        with self._lock:
            noted = self._values.flushed.setdefault(self._stream, {})
            for partition, progress in through.items():
                if progress.next_offset >= noted.get(partition, progress).next_offset:
                    noted[partition] = progress

    def flushed(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return the positions that `note_flushed` stored last."""
        with self._lock:
            return dict(self._values.flushed.get(self._stream, {}))

    def drop(self, superseded: Sequence[tuple[SiteDay, int]]) -> None:
        """Remove all values stored for these generations; idempotent."""
        with self._lock:
            for site_day, generation in superseded:
                site, day = site_day
                gone = (pl.col("site") == site) & (pl.col("day") == day) & (pl.col("generation") == generation)
                self._values.partials = self._values.partials.filter(~gone)
                self._values.settled.pop((site_day, generation), None)

    def forget(self) -> None:
        """Remove the stream's positions that `note_flushed` stored."""
        with self._lock:
            self._values.flushed.pop(self._stream, None)
