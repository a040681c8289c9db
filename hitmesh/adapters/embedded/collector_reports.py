"""Store collectors' reports on one machine, in leases.db."""

from __future__ import annotations

from collections.abc import Sequence

from hitmesh.adapters.embedded.sqlite import Database
from hitmesh.adapters.shared.report_values import report_of, report_value
from hitmesh.model.quotas import CollectorReport
from hitmesh.ports import Clock


class EmbeddedCollectorReports:
    """Implements the port CollectorReports in leases.db.

    Args:
        database: leases.db, because a report must never wait for the write transaction of a settlement.
        clock: the machine's clock, which decides for all processes when a report has expired.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def put(self, report: CollectorReport, length_ms: int) -> None:
        """Replace a collector's report, and delete expired reports."""
        now, value = self._clock.now(), report_value(report)
        with self._database.writing() as transaction:
            transaction.run("DELETE FROM collector_reports WHERE expires_at <= ?", (now,))
            transaction.run(
                "INSERT OR REPLACE INTO collector_reports VALUES (?, ?, ?)", (report.collector, now + length_ms, value)
            )

    def live(self) -> Sequence[CollectorReport]:
        """Return the reports that have not expired, ordered by collector."""
        with self._database.reading() as transaction:
            return transaction.rows(
                report_of,
                "SELECT collector, value FROM collector_reports WHERE expires_at > ? ORDER BY collector",
                (self._clock.now(),),
            )

    def remove(self, collector: str) -> None:
        """Remove a collector's report; idempotent."""
        with self._database.writing() as transaction:
            transaction.run("DELETE FROM collector_reports WHERE collector = ?", (collector,))
