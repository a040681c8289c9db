"""Writes settled rows. Waits until reports can read the rows (architecture A9)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final

import polars as pl

from hitmesh.model.checkpoints import Checkpoint, unwatched
from hitmesh.model.days import date_text
from hitmesh.model.errors import Unavailable
from hitmesh.model.sites import SiteDay
from hitmesh.ports import Clock, RollupSink
from processor.settle.settlement import Settled

_LOOK_EVERY_S: Final = 0.05
_ROWS_IN_TIME: Final = 250_000  # about as many rows as a wave of small site-days has


class ReadableRows:
    """Writes rows and waits until the rows are readable. An instance must be used by one thread only.

    Args:
        sink: receives the rows.
        clock: measures the time until the deadline.
        stop: ends the wait when set.
        timeout_s: the deadline for rows to become readable.
        rows_in_time: this many rows must become readable within `timeout_s`. If a wave has more rows, the deadline is a
            multiple of `timeout_s`. A large site-day has millions of rows.
        rest: called while rows are not readable yet, so that the settler's pulse shows that the settler works.
    """

    def __init__(
        self,
        sink: RollupSink,
        clock: Clock,
        stop: threading.Event,
        timeout_s: float,
        rows_in_time: int = _ROWS_IN_TIME,
        rest: Checkpoint = unwatched,
    ) -> None:
        self._sink = sink
        self._clock = clock
        self._stop = stop
        self._timeout_ms = int(timeout_s * 1000)
        self._rows_in_time = rows_in_time
        self._rest = rest

    def write(self, wave: Sequence[tuple[SiteDay, int, Settled]]) -> None:
        """Write a wave's rows, then wait until all rows are readable.

        A generation's rows must be readable before the generation becomes current.

        Args:
            wave: at least one site-day, each with its generation number and settlement.

        Raises:
            Unavailable: the deadline has passed, or the work was stopped.
        """
        small = [rows for rows in (settled.rows for _, _, settled in wave) if rows.is_in_memory]
        if small:
            self._sink.write(
                pl.concat([portion for rows in small for portion in rows.traffic]),
                pl.concat([portion for rows in small for portion in rows.visits]),
            )
        for _, _, settled in wave:
            if not settled.rows.is_in_memory:
                self._sink.write_portions(settled.rows.traffic, settled.rows.visits)
        waiting = [(site_day, generation) for site_day, generation, _ in wave]

        def are_ingested() -> bool:
            while waiting and self._sink.ingested(*waiting[0]):
                waiting.pop(0)
            return not waiting

        site, day = waiting[0][0]
        timeouts = max(1, -(-sum(settled.rows.height for _, _, settled in wave) // self._rows_in_time))
        self.wait(are_ingested, f"rows of {len(waiting)} site-days, including {site} {date_text(day)},", timeouts)

    def wait(self, are_readable: Callable[[], bool], rows: str, timeouts: int = 1) -> None:
        """Wait until rows are readable.

        Args:
            are_readable: returns whether the rows are readable.
            rows: the rows' name in error messages.
            timeouts: the deadline, as a multiple of `timeout_s`.

        Raises:
            Unavailable: the deadline has passed, or the work was stopped.
        """
        deadline = self._clock.now() + self._timeout_ms * timeouts
        while not are_readable():
            self._rest()
            if self._stop.wait(_LOOK_EVERY_S) or self._clock.now() > deadline:
                raise Unavailable(
                    f"{rows} are not readable in the metric store yet; try again", retry_after_s=5.0, rows=rows
                )
