"""Compute the log time of an appended record (rule L1)."""

from __future__ import annotations

from hitmesh.model.limits import MAX_LEAD_MS
from hitmesh.model.records import Record


def log_time_of(record: Record, now: int, last_log_time: int) -> int:
    """Return the log time of a record appended at `now` after a record with `last_log_time`.

    Log time is the running maximum of append time. The append time is capped at the record's latest collect time + 10
    min. The cap makes sure that no day closes too early if the log's clock runs ahead. The result is never less than
    `last_log_time`. If a record has no collect time (0), its append time is not capped.
    """
    bound = record.max_collect_time + MAX_LEAD_MS if record.max_collect_time else now
    return max(last_log_time, min(now, bound))
