"""Collects the records of a window from the readers of both topics (step 4 of the journey)."""

from __future__ import annotations

import time

from hitmesh.model.records import LoggedRecord
from hitmesh.ports import LogReader
from processor.stream.pace import StreamPace


def collect(
    records: list[LoggedRecord], hits: LogReader, rejected: LogReader, pace: StreamPace, timeout_s: float
) -> None:
    """Wait up to `timeout_s` for the first record, then collect records from both topics until the window ends.

    Args:
        records: an empty list, which gets the records. After an error, the list has the records that were read before.
        hits: the reader of hits.
        rejected: the reader of refusals.
        pace: limits of the window.
        timeout_s: maximum wait for the first record, in seconds.

    Raises:
        PartitionsMoved: the consumer group reassigned partitions.
    """
    room, ends = pace.max_hits, 0.0
    while room > 0:
        before = len(records)
        left = min(ends - time.monotonic(), pace.quiet_ms / 1_000) if before else timeout_s
        if left < 0:
            return
        for reader, wait_s in ((hits, left), (rejected, 0.0)):
            records += reader.poll(room, wait_s)
        if len(records) == before:
            return
        if not before:
            ends = time.monotonic() + pace.window_ms / 1_000
        room = pace.max_hits - sum(record.record.rows for record in records)
