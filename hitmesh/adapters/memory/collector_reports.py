"""Keep collectors' reports in memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from hitmesh.model.quotas import CollectorReport
from hitmesh.ports import Clock


class MemoryCollectorReports:
    """Implements the port CollectorReports in memory.

    Args:
        clock: decides when a report has expired.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._reports: dict[str, tuple[CollectorReport, int]] = {}

    def put(self, report: CollectorReport, length_ms: int) -> None:
        """Replace a collector's report."""
        with self._lock:
            self._reports[report.collector] = (report, self._clock.now() + length_ms)

    def live(self) -> Sequence[CollectorReport]:
        """Return the reports that have not expired, ordered by collector."""
        with self._lock:
            now = self._clock.now()
            return [report for _, (report, expires_at) in sorted(self._reports.items()) if expires_at > now]

    def remove(self, collector: str) -> None:
        """Remove a collector's report; idempotent."""
        with self._lock:
            self._reports.pop(collector, None)
