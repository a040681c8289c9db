"""The settler's limits and delays."""

from __future__ import annotations

from dataclasses import dataclass

from hitmesh.model.plan import KEEP_REPLACED_DAYS
from hitmesh.model.zones import DAY_MS


@dataclass(frozen=True, slots=True)
class SettlePace:
    """The settler's limits and delays.

    Attributes:
        take_site_days: how many dirty site-days a pass reads at most.
        pass_ms: after this time, which does not include hit sorting, a pass starts no further site-day.
        resettle_after_ms: new hits cause another settlement of a site-day after this delay. If the last settlement took
            longer than this delay, the site-day waits as long as the last settlement took.
        retry_after_ms: the delay before a failed site-day is tried again. Each further failure doubles the delay.
        max_retry_after_ms: the maximum delay before a failed site-day is tried again.
        intent_ms: for this time, a settler ignores another settler's intent. An intent announces that a settler will
            set flags of claims. If the announcing settler is suspended for longer than `intent_ms` before it sets the
            flags, the flags may be outdated.
        keep_superseded_ms: after a generation was superseded, its rows remain readable for this time.
        keep_replaced_ms: a settled generation is kept for this time after its replacement, for reports at an earlier
            data version. After `keep_replaced_ms`, the generation is superseded.
        remove_generations: a pass removes the rows from at most this many superseded generations.
        ingest_timeout_s: written rows must become readable within this time.
        sort_site_days: hits are sorted by site if at least this many of the site-days in a pass are on the same UTC day
            (processor.settle.resorting).
        take_sorted_site_days: hits from at most this many site-days are sorted together.
        sorted_ms: sorted hits are used for this time.
        wave_site_days: how many site-days a wave has at most.
        wave_rows: approximately how many rows a wave has at most.
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
