"""Shows the progress of long work on stderr: a bar on a terminal, otherwise a line every 10 s."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from hitmesh.tools.cli.output import note, stderr_console

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

LINE_EVERY_S: Final = 10.0


class Progress:
    """A progress display for work in successive phases. Use the display as a context manager.

    With a `unit`, the rate in units per second and the time left are shown too.
    """

    def __init__(
        self, *, on_terminal: bool | None = None, clock_s: Callable[[], float] = time.monotonic, unit: str = ""
    ) -> None:
        self._on_terminal = sys.stderr.isatty() if on_terminal is None else on_terminal
        self._clock_s = clock_s
        self._printed_at_s = clock_s()
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        self._phase = ""
        self._total: int | None = None
        self._unit = unit
        self._begun: tuple[float, int] | None = None

    def __enter__(self) -> Progress:
        if self._on_terminal:
            from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                SpinnerColumn(),
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[pace]}"),
                TimeRemainingColumn(),
                console=stderr_console(),
                transient=True,
            )
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def phase(self, name: str, total: int | None = None) -> None:
        """Begin a phase with `total` units of work; `total` is None if the number is unknown."""
        self._phase, self._total, self._begun = name, total, None
        if self._bar is not None:
            if self._task is not None:
                self._bar.remove_task(self._task)
            self._task = self._bar.add_task(name, total=total, pace="")

    def reached(self, done: int, waiting: str = "") -> None:
        """Show how many units of the phase are finished. If the work waits, `waiting` names the cause of the wait."""
        if self._begun is None:
            self._begun = (self._clock_s(), done)
        pace = self._pace(done) if self._unit else ""
        pace = f"waits for: {waiting}" if waiting else pace
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, pace=pace)
        elif self._bar is None and self._clock_s() - self._printed_at_s >= LINE_EVERY_S:
            self._printed_at_s = self._clock_s()
            note(f"{self._phase}: {done:,}" + (f" of {self._total:,}" if self._total else "") + (pace and f", {pace}"))

    def _pace(self, done: int) -> str:
        """Return a text with the rate since the phase began and the time left; "" while the rate is unknown."""
        began_s, first = self._begun or (0.0, 0)
        elapsed_s = self._clock_s() - began_s
        if done <= first or elapsed_s <= 0:
            return ""
        rate = (done - first) / elapsed_s
        left = f", {max(0, self._total - done) / rate:,.0f} s left" if self._total else ""
        return f"{rate:,.1f} {self._unit}/s{left}"
