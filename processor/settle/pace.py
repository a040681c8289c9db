"""The limits and delays of the settler."""

from __future__ import annotations

from dataclasses import dataclass

from hitmesh.model.plan import KEEP_REPLACED_DAYS
from hitmesh.model.zones import DAY_MS


@dataclass(frozen=True, slots=True)
class SettlePace:
    """The settler's limits and delays.

    Attributes:
        take_site_days: maximum number of dirty site-days read per pass.
        pass_ms: a pass starts no further site-day after this time, apart from the time for sorting hits.
        resettle_after_ms: minimum delay before new hits cause another settlement of a site-day; if the last settlement
            took longer, the delay is as long as that settlement.
        retry_after_ms: delay before a failed site-day is tried again, doubled after each failure.
        max_retry_after_ms: maximum retry delay.
        intent_ms: how long a settler leaves the intents of others alone, which announce flags of claims; a process must
            not stand still longer than this time before it sets the flags.
        keep_superseded_ms: how long rows stay readable after their generation counts as superseded.
        keep_replaced_ms: how long a settled generation is kept after it was replaced, for reports at an earlier data
            version; then it counts as superseded.
        remove_generations: maximum number of superseded generations whose rows are removed per pass.
        ingest_timeout_s: deadline for written rows to become readable.
        sort_site_days: hits are sorted by site once at least this many taken site-days have the same day
            (processor.settle.resorting).
        take_sorted_site_days: maximum site-days whose hits are sorted together.
        sorted_ms: how long sorted hits are used.
        wave_site_days: maximum number of site-days in a wave.
        wave_rows: approximate maximum number of rows in a wave.
    """

    take_site_days: int = 2_000
    pass_ms: int = 5_000
    resettle_after_ms: int = 2_000
    retry_after_ms: int = 60_000
    max_retry_after_ms: int = 3_600_000
    intent_ms: int = 3_600_000
    keep_superseded_ms: int = 360_000
    keep_replaced_ms: int = KEEP_REPLACED_DAYS * DAY_MS
    remove_generations: int = 1_000
    ingest_timeout_s: float = 120.0
    sort_site_days: int = 64
    take_sorted_site_days: int = 16_000
    sorted_ms: int = 300_000
    wave_site_days: int = 64
    wave_rows: int = 200_000
