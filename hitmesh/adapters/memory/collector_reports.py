"""Keep collectors' reports in memory."""

from __future__ import annotations

from hitmesh.adapters.memory.live_reports import MemoryReports
from hitmesh.model.quotas import CollectorReport


class MemoryCollectorReports(MemoryReports[CollectorReport]):
    """Implements the port CollectorReports in memory."""
