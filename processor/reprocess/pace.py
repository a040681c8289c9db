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
        portion_ms: after this time, a portion starts no further site-day, so that the settler's next pass can begin.
        page_site_days: how many recomputed site-days are read at once.
        wave_site_days: the rows of at most this many site-days are written together.
        wave_rows: approximately how many rows are written together at most.
        explained_hits: the difference of a site-day is explained (ChangeReasons) only if it has at most this many hits,
            because an explanation builds the visits a second time.
        ingest_timeout_s: written rows must become readable within this time, which is shorter than the settler's,
            because settlement waits meanwhile.
        examined_positions: while a repair reads the log, it remembers the positions of raw records of incomplete
            site-days, approximately this many at most.
        log_records: after this many records of the log, a repair checks whether the portion is over.
        retry_after_ms: the delay after reprocessings could not be read or changed.
        unavailable_ms: the delay after a store was unavailable, doubled for each further portion in which a store is
            unavailable.
        max_unavailable_ms: the maximum delay after a store was unavailable.
        keep_replaced_ms: how long replaced rows are kept for a rollback.
        keep_plan_ms: how long a plan is kept if it is not run.
        blanked_records: how many raw records are erased together.
        marks_known_ms: after this time, every running stream has loaded a stored erasure mark, and has stored all raw
            records that it read before.
        erasures: how many erasures a process may have in progress at the same time.
        proof_wait_ms: the delay between two searches for an erased visitor, which is multiplied by how many erasures
            are in progress.
        keep_expired_ms: how long an expired plan can still be listed.
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
