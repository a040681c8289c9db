"""Store the reports of a service's processes on one machine, in leases.db."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic

from hitmesh.adapters.embedded.sqlite import Database
from hitmesh.adapters.shared.report_values import ReportForm, ReportT
from hitmesh.ports import Clock


class EmbeddedReports(Generic[ReportT]):
    """Implements the ports CollectorReports and ReporterReports, each in a table.

    Args:
        database: leases.db, because a report must never wait for the write transaction of a settlement.
        clock: the machine's clock, which decides for all processes when a report has expired.
        form: table and encoding.
    """

    def __init__(self, database: Database, clock: Clock, form: ReportForm[ReportT]) -> None:
        self._database = database
        self._clock = clock
        self._form: ReportForm[ReportT] = form
        self._delete_expired = f"DELETE FROM {form.table} WHERE expires_at <= ?"
        self._put = f"INSERT OR REPLACE INTO {form.table} VALUES (?, ?, ?)"
        self._live = f"SELECT {form.column}, value FROM {form.table} WHERE expires_at > ? ORDER BY {form.column}"
        self._delete = f"DELETE FROM {form.table} WHERE {form.column} = ?"

    def put(self, report: ReportT, length_ms: int) -> None:
        """Replace a process's report, and delete expired reports."""
        now, value = self._clock.now(), self._form.encode(report)
        with self._database.writing() as transaction:
            transaction.run(self._delete_expired, (now,))
            transaction.run(self._put, (report[0], now + length_ms, value))

    def live(self) -> Sequence[ReportT]:
        """Return the reports that have not expired, ordered by process."""
        with self._database.reading() as transaction:
            return transaction.rows(self._form.decode, self._live, (self._clock.now(),))

    def remove(self, node: str) -> None:
        """Remove a process's report; idempotent."""
        with self._database.writing() as transaction:
            transaction.run(self._delete, (node,))
