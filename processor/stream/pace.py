"""The live stream's limits and intervals."""

from __future__ import annotations

from dataclasses import dataclass

from hitmesh.model.limits import AHEAD_TOLERANCE_MS


@dataclass(frozen=True, slots=True)
class StreamPace:
    """A runner's limits and intervals.

    Attributes:
        max_hits: a window has approximately this many hits at most.
        window_ms: the maximum time for which a window collects records, counted from its first record.
        quiet_ms: a window ends early if no record arrives for this time, so that records do not wait when traffic is
            low.
        flush_ms: the interval at which partials and ledger are written. If no records arrive, partials and ledger are
            written without waiting for the interval.
        snapshot_ms: the minimum interval between a partition's snapshots (`processor.stream.turns`).
        ahead_tolerance_ms: a warning is logged if a log time is ahead of the clock by more than this many ms
            (`clock_ahead`).
        erasures_ms: the interval between two erasure-mark reads.
        hand_over_s: a hand-over saves no kept hits after this time, and no states after twice this time.
    """

    max_hits: int = 50_000
    window_ms: int = 0
    quiet_ms: int = 250
    flush_ms: int = 10_000
    snapshot_ms: int = 180_000
    ahead_tolerance_ms: int = AHEAD_TOLERANCE_MS
    erasures_ms: int = 1_000
    hand_over_s: float = 30.0
