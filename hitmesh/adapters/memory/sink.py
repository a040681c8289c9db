"""Store settled rows in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import polars as pl

from hitmesh.adapters.memory.rows import MemoryRows
from hitmesh.model.rows.rollup_rows import TRAFFIC_COLUMNS, VISITS_COLUMNS
from hitmesh.model.sites import SiteDay


class DropsSeries(Protocol):
    """A series store. When the sink drops a generation's rows, the sink also drops the generation's series."""

    def drop(self, superseded: Sequence[tuple[SiteDay, int]]) -> None:
        """Remove the series of these generations."""


class MemoryRollupSink:
    """Implements the port RollupSink in memory.

    Args:
        rows: destination of settled rows.
        series: store whose series are dropped together with the rows.
    """

    def __init__(self, rows: MemoryRows, series: DropsSeries) -> None:
        self._rows = rows
        self._series = series

    def write(self, traffic: pl.DataFrame, visits: pl.DataFrame) -> None:
        """Store settled rows.

        Raises:
            ValueError: a generation of a site-day already has rows, and nothing was written.
        """
        self._rows.write(traffic, visits)

    def write_portions(self, traffic: Iterable[pl.DataFrame], visits: Iterable[pl.DataFrame]) -> None:
        """Store the rows of a single generation.

        Raises:
            ValueError: the generation already has rows; nothing was written.
        """
        self._rows.write(
            pl.concat([pl.DataFrame(schema=TRAFFIC_COLUMNS), *traffic]),
            pl.concat([pl.DataFrame(schema=VISITS_COLUMNS), *visits]),
        )

    def ingested(self, site_day: SiteDay, generation: int) -> bool:
        """Return True, because rows are readable as soon as `write` has returned."""
        return True

    def drop(self, superseded: Sequence[tuple[SiteDay, int]]) -> None:
        """Remove the rows and series of these generations; idempotent."""
        self._rows.drop(superseded)
        self._series.drop(superseded)
