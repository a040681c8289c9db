"""The limits and intervals of the live stream."""

from __future__ import annotations

from dataclasses import dataclass

from hitmesh.model.limits import AHEAD_TOLERANCE_MS


@dataclass(frozen=True, slots=True)
class StreamPace:
    """The limits and intervals of a runner.

    Attributes:
        max_hits: approximate number of hits in a window.
        window_ms: maximum time for gathering a window, from the first record on.
        quiet_ms: a window ends early after this long without a record, so that low traffic need not wait.
        flush_ms: interval for writing partials and ledger, which are also written when idle.
        snapshot_ms: minimum interval between snapshots of a partition (`processor.stream.turns`).
        ahead_tolerance_ms: a warning is logged when a log time is further ahead of the clock (`clock_ahead`).
        erasures_ms: interval between two reads of erasure marks.
    """

    max_hits: int = 50_000
    window_ms: int = 0
    quiet_ms: int = 250
    flush_ms: int = 10_000
    snapshot_ms: int = 180_000
    ahead_tolerance_ms: int = AHEAD_TOLERANCE_MS
    erasures_ms: int = 1_000
