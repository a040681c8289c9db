"""Store collectors' reports on one machine, in leases.db."""

from __future__ import annotations

from hitmesh.adapters.embedded.live_reports import EmbeddedReports
from hitmesh.adapters.embedded.sqlite import Database
from hitmesh.adapters.shared.report_values import OF_COLLECTORS
from hitmesh.model.quotas import CollectorReport
from hitmesh.ports import Clock


class EmbeddedCollectorReports(EmbeddedReports[CollectorReport]):
    """Implements the port CollectorReports in leases.db."""

    def __init__(self, database: Database, clock: Clock) -> None:
        super().__init__(database, clock, OF_COLLECTORS)
