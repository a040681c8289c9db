"""Store collectors' reports on Cassandra, as rows with a time to live, in one partition.

A report has expired when its row is gone. Rows expire according to the clocks of Cassandra's nodes.
"""

from __future__ import annotations

from collections.abc import Sequence

from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.adapters.shared.report_values import report_of, report_value
from hitmesh.model.quotas import CollectorReport


class CassandraCollectorReports:
    """Implements the port CollectorReports. Thread-safe."""

    def __init__(self, session: CassandraSession) -> None:
        self._session = session

    def put(self, report: CollectorReport, length_ms: int) -> None:
        """Replace a collector's report."""
        # Cassandra counts a time to live in whole seconds, from the start of a second.
        ttl_s = -(-length_ms // 1_000) + 1
        self._session.run(
            "INSERT INTO collector_reports (zero, collector, value) VALUES (0, ?, ?) USING TTL ?",
            (report.collector, report_value(report), ttl_s),
        )

    def live(self) -> Sequence[CollectorReport]:
        """Return the reports that have not expired, ordered by collector."""
        rows = self._session.run("SELECT collector, value FROM collector_reports WHERE zero = 0")
        return [report_of(row.collector, row.value) for row in rows]

    def remove(self, collector: str) -> None:
        """Remove a collector's report; idempotent."""
        self._session.run("DELETE FROM collector_reports WHERE zero = 0 AND collector = ?", (collector,))
