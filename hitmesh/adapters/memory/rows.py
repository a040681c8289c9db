"""Settled rows in memory, and questions over them."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import polars as pl

from hitmesh.adapters.answers import answer, as_stored, distinct_values, needed_columns
from hitmesh.ports import MetricQuery, SiteDay
from hitmesh.rollup_rows import ROW_COLUMNS, RowSource


class MemoryRows:
    """A RollupSink and a MetricStore in one."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[tuple[RowSource, SiteDay, int], pl.DataFrame] = {}

    def write(self, traffic: pl.DataFrame, visits: pl.DataFrame) -> None:
        """Stores rows.

        Raises:
            ValueError: a generation of a site-day has rows already; nothing was written.
        """
        parts: dict[tuple[RowSource, SiteDay, int], pl.DataFrame] = {}
        for source, rows in ((RowSource.TRAFFIC, traffic), (RowSource.VISITS, visits)):
            whole = as_stored(rows, source)
            for (site, day, generation), part in whole.group_by("site", "day", "generation"):
                parts[source, SiteDay(str(site), int(str(day))), int(str(generation))] = part
        with self._lock:
            if written := parts.keys() & self._rows.keys():
                raise ValueError(f"{sorted(written)} are written")
            self._rows.update(parts)

    def ingested(self, site_day: SiteDay, generation: int) -> bool:
        """Returns True: rows can be read when `write` returns, and a generation without rows needs none."""
        return True

    def drop(self, superseded: Sequence[tuple[SiteDay, int]]) -> None:
        """Removes the rows of these generations; removing twice is removing once."""
        with self._lock:
            for site_day, generation in superseded:
                for source in RowSource:
                    self._rows.pop((source, site_day, generation), None)

    def query(self, question: MetricQuery) -> pl.DataFrame:
        """Returns bucket, dimensions, sums and united sketches of the asked generations."""
        return answer(self._asked(question, needed_columns(question, question.dimensions)), question)

    def dimension_values(self, question: MetricQuery, dimension: str, limit: int) -> Sequence[str]:
        """Returns distinct values of a dimension in the range, ascending; at most `limit`."""
        rows = self._asked(question, needed_columns(question, [dimension]))
        return distinct_values(rows, question, dimension, limit)

    def _asked(self, question: MetricQuery, columns: Sequence[str]) -> pl.DataFrame:
        with self._lock:
            parts = [
                part.select(columns)
                for site_day, generation in question.generations.items()
                if (part := self._rows.get((question.source, site_day, generation))) is not None
            ]
        schema = {column: ROW_COLUMNS[question.source][column] for column in columns}
        return pl.concat(parts) if parts else pl.DataFrame(schema=schema)
