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
        portion_ms: a portion starts no further site-day after this time, so that the settler's next pass can begin.
        page_site_days: how many recomputed site-days are read at once.
        wave_site_days: maximum number of site-days whose rows are written together.
        wave_rows: approximate maximum number of rows that are written together.
        explained_hits: maximum number of hits of a site-day whose difference is explained (ChangeReasons), because the
            visits of the hits are built a second time.
        ingest_timeout_s: deadline for written rows to become readable; shorter than the settler's, because settlement
            waits meanwhile.
        examined_positions: approximate maximum number of raw records of incomplete site-days whose positions a repair
            remembers while it reads the log.
        log_records: how many records of the log a repair reads before it checks whether the portion is over.
        retry_after_ms: delay after reprocessings could not be read or changed.
        unavailable_ms: delay after a store was unavailable, doubled after each such portion in a row.
        max_unavailable_ms: maximum delay after a store was unavailable.
        keep_replaced_ms: how long replaced rows are kept for a rollback.
        keep_plan_ms: how long a plan that nobody runs is kept.
        blanked_records: how many raw records are erased together.
        marks_known_ms: time after which every running stream has loaded a stored erasure mark, and has stored all raw
            records that it read before.
        erasures: how many erasures a process has in progress at the same time.
        proof_wait_ms: delay between two searches for an erased visitor, multiplied by the number of erasures in
            progress.
        keep_expired_ms: how long an expired plan can be listed.
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
