"""Store collectors' reports on Cassandra."""

from __future__ import annotations

from hitmesh.adapters.cassandra.live_reports import CassandraReports
from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.adapters.shared.report_values import OF_COLLECTORS
from hitmesh.model.quotas import CollectorReport


class CassandraCollectorReports(CassandraReports[CollectorReport]):
    """Implements the port CollectorReports. Thread-safe."""

    def __init__(self, session: CassandraSession) -> None:
        super().__init__(session, OF_COLLECTORS)
