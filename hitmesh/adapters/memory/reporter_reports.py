"""Keep reporters' reports in memory."""

from __future__ import annotations

from hitmesh.adapters.memory.live_reports import MemoryReports
from hitmesh.model.quotas import ReporterReport


class MemoryReporterReports(MemoryReports[ReporterReport]):
    """Implements the port ReporterReports in memory."""
