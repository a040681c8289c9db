"""Partials and settled series in memory."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import polars as pl

from hitmesh.adapters.shared.partials import (
    NO_PARTIALS,
    as_kept,
    as_settled,
    newest,
    series,
)
from hitmesh.model.positions import PartitionId, PartitionProgress
from hitmesh.model.rows.stream_columns import PARTIAL_COLUMNS, SERIES_COLUMNS
from hitmesh.model.sites import SiteDay


class MemorySeriesStore:
    """A SeriesStore in memory."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._partials = NO_PARTIALS
        self._settled: dict[tuple[SiteDay, int], pl.DataFrame] = {}
        self._flushed: dict[PartitionId, PartitionProgress] = {}

    def put_partials(self, partials: pl.DataFrame) -> None:
        """Store partials; a partial with a smaller `written` than the stored partial is ignored."""
        put = as_kept(partials, PARTIAL_COLUMNS)
        with self._lock:
            self._partials = newest(pl.concat([self._partials, put]), PARTIAL_COLUMNS)

    def read(self, site: str, first_day: int, end_day: int, generation: int) -> pl.DataFrame:
        """Return SERIES_COLUMNS: settled series where stored, otherwise partials added up over epochs."""
        days = pl.col("day").is_between(first_day, end_day, closed="left")
        wanted = (pl.col("site") == site) & (pl.col("generation") == generation) & days
        with self._lock:
            settled = {
                site_day.day: rows
                for (site_day, of_generation), rows in self._settled.items()
                if (site_day.site, of_generation) == (site, generation) and first_day <= site_day.day < end_day
            }
            streamed = self._partials.filter(wanted & ~pl.col("day").is_in(list(settled)))
        return series(pl.concat([streamed.select(list(SERIES_COLUMNS)), *settled.values()]))

    def put_settled(self, site_day: SiteDay, generation: int, rows: pl.DataFrame) -> None:
        """Store a site-day's settled series, replacing earlier settled series."""
        put = as_settled(rows, site_day)
        with self._lock:
            self._settled[site_day, generation] = put

    def note_flushed(self, through: Mapping[PartitionId, PartitionProgress]) -> None:
        """Note the positions before which partials are stored; a position never moves back."""
        with self._lock:
            for partition, progress in through.items():
                if progress.next_offset >= self._flushed.get(partition, progress).next_offset:
                    self._flushed[partition] = progress

    def flushed(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return the positions that `note_flushed` stored last."""
        with self._lock:
            return dict(self._flushed)

    def drop(self, superseded: Sequence[tuple[SiteDay, int]]) -> None:
        """Remove everything stored for these generations; idempotent."""
        with self._lock:
            for site_day, generation in superseded:
                site, day = site_day
                gone = (pl.col("site") == site) & (pl.col("day") == day) & (pl.col("generation") == generation)
                self._partials = self._partials.filter(~gone)
                self._settled.pop((site_day, generation), None)
