"""How much the live stream does at once, and how often. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from hitmesh.model.limits import AHEAD_TOLERANCE_MS


@dataclass(frozen=True, slots=True)
class StreamPace:
    """How much a runner does at once, and how often.

    Attributes:
        max_hits: approximate number of hits in a window.
        window_ms: maximum time for gathering a window, from the first record on.
        quiet_ms: a window ends early after this long without a record, so that low traffic need not wait.
        flush_ms: interval for writing partials and ledger, which are also written when idle.
        snapshot_ms: minimum interval between snapshots of a partition (`processor.stream.turns`).
        ahead_tolerance_ms: log time that is further ahead of the clock is logged (`clock_ahead`).
    """

    max_hits: int = 50_000
    window_ms: int = 0
    quiet_ms: int = 250
    flush_ms: int = 10_000
    snapshot_ms: int = 180_000
    ahead_tolerance_ms: int = AHEAD_TOLERANCE_MS
