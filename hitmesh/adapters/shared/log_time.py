"""When a log took a record (rule L1). Decides the number only; knows no storage."""

from __future__ import annotations

from hitmesh.model.limits import MAX_LEAD_MS
from hitmesh.model.records import Record


def log_time_of(record: Record, now: int, last_log_time: int) -> int:
    """Returns the log time of a record appended at `now` behind one of `last_log_time`.

    The running maximum of append time, but never beyond the record's latest collect time + 10 min, so that a log whose
    clock runs ahead closes no day too early. What is already in the partition stands: the result is never less than
    `last_log_time`. A record that names no collect time (0) has no bound.
    """
    bound = record.max_collect_time + MAX_LEAD_MS if record.max_collect_time else now
    return max(last_log_time, min(now, bound))
