"""The port to collectors' reports, from which each collector computes its share in every quota."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from hitmesh.model.quotas import CollectorReport


class CollectorReports(Protocol):
    """Stores each collector's latest report until the report expires.

    A report is also the collector's heartbeat: a collector is live while its report has not expired. The store's clock
    decides when a report expires. Reports are approximate and may be lost.
    """

    def put(self, report: CollectorReport, length_ms: int) -> None:
        """Replace a collector's report. The report expires at the earliest `length_ms` after the call began."""

    def live(self) -> Sequence[CollectorReport]:
        """Return the reports that have not expired, ordered by collector."""

    def remove(self, node: str) -> None:
        """Remove a stopping collector's report; idempotent."""
