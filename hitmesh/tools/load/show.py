"""What a run tells people while it goes on. Who shows it, and how, is not its business."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from hitmesh.tools.load.tally import Progress


@dataclass(frozen=True, slots=True)
class Live:
    """How far sending got. `lag_s` is None while the reporter does not answer."""

    elapsed_s: float
    hits: Progress
    waiting_bytes: int
    lag_s: float | None


class Show(Protocol):
    """Shows people how far a run got."""

    def phase(self, name: str, total: int | None = None) -> None:
        """Begins a phase of `total` units; None when nobody knows."""

    def reached(self, done: int) -> None:
        """Says how many units of the phase are done."""

    def sending(self, live: Live) -> None:
        """Says how far sending got."""
