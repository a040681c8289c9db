"""Store reporters' reports on Cassandra."""

from __future__ import annotations

from hitmesh.adapters.cassandra.live_reports import CassandraReports
from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.adapters.shared.report_values import OF_REPORTERS
from hitmesh.model.quotas import ReporterReport


class CassandraReporterReports(CassandraReports[ReporterReport]):
    """Implements the port ReporterReports. Thread-safe."""

    def __init__(self, session: CassandraSession) -> None:
        super().__init__(session, OF_REPORTERS)
