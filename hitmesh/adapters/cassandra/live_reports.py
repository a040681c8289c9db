"""Store the reports of a service's processes on Cassandra, as rows with a time to live, in one partition.

A report has expired when its row is gone. Rows expire according to the clocks of Cassandra's nodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic

from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.adapters.shared.report_values import ReportForm, ReportT


class CassandraReports(Generic[ReportT]):
    """Implements the ports CollectorReports and ReporterReports, each in a table. Thread-safe.

    Args:
        session: the session.
        form: table and encoding.
    """

    def __init__(self, session: CassandraSession, form: ReportForm[ReportT]) -> None:
        self._session = session
        self._form: ReportForm[ReportT] = form
        self._put = f"INSERT INTO {form.table} (zero, {form.column}, value) VALUES (0, ?, ?) USING TTL ?"
        self._live = f"SELECT {form.column} AS node, value FROM {form.table} WHERE zero = 0"
        self._delete = f"DELETE FROM {form.table} WHERE zero = 0 AND {form.column} = ?"

    def put(self, report: ReportT, length_ms: int) -> None:
        """Replace a process's report."""
        # Cassandra counts a time to live in whole seconds, from the start of a second.
        ttl_s = -(-length_ms // 1_000) + 1
        self._session.run(self._put, (report[0], self._form.encode(report), ttl_s))

    def live(self) -> Sequence[ReportT]:
        """Return the reports that have not expired, ordered by process."""
        return [self._form.decode(row.node, row.value) for row in self._session.run(self._live)]

    def remove(self, node: str) -> None:
        """Remove a process's report; idempotent."""
        self._session.run(self._delete, (node,))
