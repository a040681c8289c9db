"""The reprocessor's limits and delays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hitmesh.model.plan import KEEP_PLAN_DAYS, KEEP_REPLACED_DAYS
from hitmesh.model.zones import DAY_MS

_KEEP_EXPIRED_DAYS: Final = 7


@dataclass(frozen=True, slots=True)
class ReprocessPace:
    """The reprocessor's limits and delays.

    Attributes:
        portion_ms: after this time, a portion starts no further site-day, and the settler's next pass can begin.
        page_site_days: how many recomputed site-days are read at once.
        wave_site_days: rows from at most this many site-days are written together.
        wave_rows: approximately how many rows at most are written together.
        explained_hits: the difference between a site-day's two generations is explained (ChangeReasons) only if the
            site-day has at most this many hits, because an explanation builds the visits a second time.
        ingest_timeout_s: written rows must become readable within this time. This time is shorter than the settler's
            timeout, because settlement waits while the reprocessor waits.
        examined_positions: for incomplete site-days, a repair that reads the log remembers approximately this many
            positions of raw records.
        log_records: after this many records of the log, a repair checks whether the portion is over.
        retry_after_ms: the delay after reprocessings could not be read or changed.
        unavailable_ms: the delay after a store was unavailable, doubled for each further portion in which a store is
            unavailable.
        max_unavailable_ms: the maximum delay after a store was unavailable.
        keep_replaced_ms: replaced rows are kept for this time, so that a rollback can restore them.
        keep_plan_ms: a plan that is not run expires after this time.
        blanked_records: in how many raw records hits are erased together.
        marks_known_ms: after this time, every running stream has loaded a stored erasure mark, and has stored all raw
            records that it read before it loaded the mark.
        erasures: how many erasures, at most, a process has in progress at the same time.
        proof_wait_ms: the delay between two searches for an erased visitor; multiplied by the number of erasures in
            progress.
        keep_expired_ms: an expired plan can still be listed for this time.
    """

    portion_ms: int = 2_000
    page_site_days: int = 64
    wave_site_days: int = 64
    wave_rows: int = 200_000
    explained_hits: int = 2_000_000
    ingest_timeout_s: float = 30.0
    examined_positions: int = 200_000
    log_records: int = 256
    retry_after_ms: int = 60_000
    unavailable_ms: int = 15_000
    max_unavailable_ms: int = 480_000
    keep_replaced_ms: int = KEEP_REPLACED_DAYS * DAY_MS
    keep_plan_ms: int = KEEP_PLAN_DAYS * DAY_MS
    blanked_records: int = 64
    marks_known_ms: int = 60_000
    erasures: int = 16
    proof_wait_ms: int = 5_000
    keep_expired_ms: int = _KEEP_EXPIRED_DAYS * DAY_MS
