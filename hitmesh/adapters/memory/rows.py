"""Settled rows and stream rows in memory, with queries over both."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import polars as pl

from hitmesh.adapters.shared.answers import answer, as_stored, distinct_values, needed_columns, rows_with
from hitmesh.adapters.shared.stream_rows import as_streamed, folded, sums_of
from hitmesh.model.checkpoints import Checkpoint, unwatched
from hitmesh.model.generations import STREAM_GENERATION
from hitmesh.model.positions import PartitionId, PartitionProgress, Topic
from hitmesh.model.queries import MetricQuery
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.sites import SiteDay
from hitmesh.model.stream_values import FoldedRows
from hitmesh.ports import ProgressReader


class DropsSeries(Protocol):
    """A series store that drops a generation's series together with the rows."""

    def drop(self, site: str, day: int, generation: int) -> None:
        """Remove a generation's series for a site-day."""


class MemoryRows:
    """A RollupSink and a MetricStore, and the destination of the outbox's rows.

    Args:
        series: store whose series are dropped together with the rows.
        progress: the committed positions; committed rows are visible at once.
    """

    def __init__(self, series: DropsSeries, progress: ProgressReader) -> None:
        self._series = series
        self._progress = progress
        self._lock = threading.Lock()
        self._rows: dict[tuple[RowSource, SiteDay, int], pl.DataFrame] = {}
        self._streamed: dict[tuple[RowSource, SiteDay], list[pl.DataFrame]] = {}

    def write(self, traffic: pl.DataFrame, visits: pl.DataFrame) -> None:
        """Store settled rows.

        Raises:
            ValueError: a generation of a site-day already has rows; nothing was written.
        """
        parts: dict[tuple[RowSource, SiteDay, int], pl.DataFrame] = {}
        for source, rows in ((RowSource.TRAFFIC, traffic), (RowSource.VISITS, visits)):
            whole = as_stored(rows, source)
            for (site, day, generation), part in whole.group_by("site", "day", "generation"):
                parts[source, SiteDay(str(site), int(str(day))), int(str(generation))] = part
        with self._lock:
            if written := parts.keys() & self._rows.keys():
                raise ValueError(f"{sorted(written)} are already written")
            self._rows.update(parts)

    def add(self, rows: Sequence[FoldedRows]) -> None:
        """Add the stream's signed rows, all or nothing."""
        parts: list[tuple[RowSource, SiteDay, pl.DataFrame]] = []
        for folded_rows in rows:
            for source, signed in ((RowSource.TRAFFIC, folded_rows.traffic), (RowSource.VISITS, folded_rows.visits)):
                for (site, day), part in as_streamed(signed, source).group_by("site", "day"):
                    parts.append((source, SiteDay(str(site), int(str(day))), part))
        with self._lock:
            for source, site_day, part in parts:
                self._streamed.setdefault((source, site_day), []).append(part)

    def ingested(self, site_day: SiteDay, generation: int) -> bool:
        """Return True: rows are readable when `write` returns."""
        return True

    def drop(self, superseded: Sequence[tuple[SiteDay, int]]) -> None:
        """Remove the rows and series of these generations; idempotent."""
        with self._lock:
            for site_day, generation in superseded:
                for source in RowSource:
                    self._rows.pop((source, site_day, generation), None)
                    if generation == STREAM_GENERATION:
                        self._streamed.pop((source, site_day), None)
        for site_day, generation in superseded:
            self._series.drop(site_day.site, site_day.day, generation)

    def query(self, question: MetricQuery, checkpoint: Checkpoint = unwatched) -> pl.DataFrame:
        """Return bucket, dimensions, sums and united sketches for the requested generations."""
        return answer(self._rows_for(question, needed_columns(question, question.dimensions)), question, checkpoint)

    def ingested_through(self) -> Mapping[PartitionId, PartitionProgress]:
        """Return the committed positions, since rows are committed with their positions."""
        return self._progress.progress(Topic.HITS)

    def stream_sums(self, site_days: Collection[SiteDay]) -> Mapping[SiteDay, Mapping[str, int]]:
        """Return the sums over all rows in the stream's generation, per requested site-day."""
        with self._lock:
            parts = {
                source: [part for site_day in site_days for part in self._streamed.get((source, site_day), ())]
                for source in RowSource
            }
        return sums_of(
            {source: pl.concat(source_parts) for source, source_parts in parts.items() if source_parts}, site_days
        )

    def dimension_values(self, question: MetricQuery, dimension: str, limit: int) -> Sequence[str]:
        """Return at most `limit` distinct values of a dimension in the range, ascending."""
        rows = self._rows_for(question, needed_columns(question, [dimension]))
        return distinct_values(rows, question, dimension, limit)

    def _rows_for(self, question: MetricQuery, columns: Sequence[str]) -> pl.DataFrame:
        with self._lock:
            parts = [
                part
                for site_day, generation in question.generations.items()
                if (part := self._of(question.source, site_day, generation)) is not None
            ]
        return rows_with(parts, question.source, columns)

    def _of(self, source: RowSource, site_day: SiteDay, generation: int) -> pl.DataFrame | None:
        if generation != STREAM_GENERATION:
            return self._rows.get((source, site_day, generation))
        parts = self._streamed.get((source, site_day))
        if not parts:
            return None
        if len(parts) > 1:
            parts[:] = [pl.concat(parts)]
        return folded(parts[0], source, whole=True)
