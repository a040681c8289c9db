"""Keep the reports of a service's processes in memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Generic

from hitmesh.adapters.shared.report_values import ReportT
from hitmesh.ports import Clock


class MemoryReports(Generic[ReportT]):
    """Implements the ports CollectorReports and ReporterReports in memory.

    Args:
        clock: decides when a report has expired.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._reports: dict[str, tuple[ReportT, int]] = {}

    def put(self, report: ReportT, length_ms: int) -> None:
        """Replace a process's report."""
        with self._lock:
            self._reports[report[0]] = (report, self._clock.now() + length_ms)

    def live(self) -> Sequence[ReportT]:
        """Return the reports that have not expired, ordered by process."""
        with self._lock:
            now = self._clock.now()
            return [report for _, (report, expires_at) in sorted(self._reports.items()) if expires_at > now]

    def remove(self, node: str) -> None:
        """Remove a process's report; idempotent."""
        with self._lock:
            self._reports.pop(node, None)
