"""The ports: interfaces (protocols) through which the services use storage, the log and the clock.

hitmesh.adapters implements the ports. Each port documents its guarantees. Every adapter must pass the test classes in
tests/contract, which cover each port except Clock. Values that cross a port are frozen. All times are UTC milliseconds,
and all ranges are half-open. Every method may raise hitmesh.model.errors.Unavailable; each method documents its other
errors.
"""

from __future__ import annotations

from hitmesh.ports.clock import Clock
from hitmesh.ports.collector_reports import CollectorReports
from hitmesh.ports.directory import SiteDirectory
from hitmesh.ports.erasing import Erasures, LogEraser
from hitmesh.ports.leases import Leases
from hitmesh.ports.log import EventLog, LogReader
from hitmesh.ports.merchants import Merchants
from hitmesh.ports.raw import RawStore, RejectedStore
from hitmesh.ports.reporter_reports import ReporterReports
from hitmesh.ports.reporting import MetricStore, ProgressReader
from hitmesh.ports.reprocessing import Reprocessings
from hitmesh.ports.settling import DirtyDays, Generations, OrderClaims, RollupSink
from hitmesh.ports.streaming import Ledger, LogScan, Outbox, SeriesStore, StateStore
from hitmesh.ports.streams import OneStream, Streams, StreamStore

__all__ = [
    "Clock",
    "CollectorReports",
    "DirtyDays",
    "Erasures",
    "EventLog",
    "Generations",
    "Leases",
    "Ledger",
    "LogEraser",
    "LogReader",
    "LogScan",
    "Merchants",
    "MetricStore",
    "OneStream",
    "OrderClaims",
    "Outbox",
    "ProgressReader",
    "RawStore",
    "RejectedStore",
    "ReporterReports",
    "Reprocessings",
    "RollupSink",
    "SeriesStore",
    "SiteDirectory",
    "StateStore",
    "StreamStore",
    "Streams",
]
