"""The interface through which a run reports its progress."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from hitmesh.tools.load.tally import Progress


@dataclass(frozen=True, slots=True)
class Live:
    """Progress of sending. `lag_s` is None if the lag is unknown or the reporter does not answer."""

    elapsed_s: float
    hits: Progress
    waiting_bytes: int
    lag_s: float | None


class Show(Protocol):
    """Displays a run's progress."""

    def phase(self, name: str, total: int | None = None) -> None:
        """Begin a phase with `total` units of work; `total` is None if the number is unknown."""

    def reached(self, done: int) -> None:
        """Report how many units of the phase are finished."""

    def sending(self, live: Live) -> None:
        """Report the progress of sending."""
