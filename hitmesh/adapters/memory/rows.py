"""Keep settled rows and stream rows in memory.

The modules `sink` and `outbox` write the rows, and `metrics` reads them.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping, Sequence

import polars as pl

from hitmesh.adapters.shared.answers import as_stored
from hitmesh.adapters.shared.stream_rows import as_streamed, folded
from hitmesh.model.generations import STREAM_GENERATION, is_streamed
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.model.sites import SiteDay
from hitmesh.model.stream_values import FoldedRows


class MemoryRows:
    """Holds all rows of a memory store: settled rows, and the rows of all streams. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[tuple[RowSource, SiteDay, int], pl.DataFrame] = {}
        self._streamed: dict[tuple[RowSource, SiteDay, int], list[pl.DataFrame]] = {}

    def write(self, traffic: pl.DataFrame, visits: pl.DataFrame) -> None:
        """Store settled rows.

        Raises:
            ValueError: a generation of a site-day already has rows, and nothing was written.
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

    def add(self, rows: Sequence[FoldedRows], stream: int = STREAM_GENERATION) -> None:
        """Add a stream's rows, all or nothing."""
        parts: list[tuple[RowSource, SiteDay, pl.DataFrame]] = []
        for folded_rows in rows:
            for source, signed in ((RowSource.TRAFFIC, folded_rows.traffic), (RowSource.VISITS, folded_rows.visits)):
                for (site, day), part in as_streamed(signed, source, stream).group_by("site", "day"):
                    parts.append((source, SiteDay(str(site), int(str(day))), part))
        with self._lock:
            for source, site_day, part in parts:
                self._streamed.setdefault((source, site_day, stream), []).append(part)

    def drop(self, superseded: Sequence[tuple[SiteDay, int]]) -> None:
        """Remove the rows of these generations; idempotent."""
        with self._lock:
            for site_day, generation in superseded:
                for source in RowSource:
                    self._rows.pop((source, site_day, generation), None)
                    self._streamed.pop((source, site_day, generation), None)

    def streamed(
        self, site_days: Collection[SiteDay], stream: int = STREAM_GENERATION
    ) -> Mapping[RowSource, pl.DataFrame]:
        """Return all rows of a stream's generation on these site-days; a source without rows is absent."""
        with self._lock:
            parts = {
                source: [part for site_day in site_days for part in self._streamed.get((source, site_day, stream), ())]
                for source in RowSource
            }
        return {source: pl.concat(source_parts) for source, source_parts in parts.items() if source_parts}

    def of_generations(self, source: RowSource, generations: Mapping[SiteDay, int]) -> list[pl.DataFrame]:
        """Return the rows of the requested generation of each site-day."""
        with self._lock:
            return [
                part
                for site_day, generation in generations.items()
                if (part := self._of(source, site_day, generation)) is not None
            ]

    def _of(self, source: RowSource, site_day: SiteDay, generation: int) -> pl.DataFrame | None:
        if not is_streamed(generation):
            return self._rows.get((source, site_day, generation))
        parts = self._streamed.get((source, site_day, generation))
        if not parts:
            return None
        if len(parts) > 1:
            parts[:] = [pl.concat(parts)]
        return folded(parts[0], source, whole=True, stream=generation)
