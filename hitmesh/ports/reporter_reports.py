"""The port to reporters' reports, from which each reporter learns what merchants spent in the other reporters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from hitmesh.model.quotas import ReporterReport


class ReporterReports(Protocol):
    """Stores each reporter's latest report until the report expires.

    A report is also the reporter's heartbeat: a reporter is live while its report has not expired. The store's clock
    decides when a report expires. Reports may be lost.
    """

    def put(self, report: ReporterReport, length_ms: int) -> None:
        """Replace a reporter's report. The report expires at the earliest `length_ms` after the call began."""

    def live(self) -> Sequence[ReporterReport]:
        """Return the reports that have not expired, ordered by reporter."""

    def remove(self, node: str) -> None:
        """Remove a stopping reporter's report; idempotent."""
