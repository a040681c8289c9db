"""Protocols through which the services use the outside world. The adapters live in hitmesh.adapters.

Each protocol states its guarantees; tests/contract holds one test class per port that every adapter must pass. Values
that cross a port are frozen. All times are UTC milliseconds, all ranges half-open. Every call may raise
hitmesh.model.errors.Unavailable; other errors are listed with the method that raises them.
"""

from __future__ import annotations

from hitmesh.ports.clock import Clock
from hitmesh.ports.directory import SiteDirectory
from hitmesh.ports.log import EventLog, LogReader
from hitmesh.ports.raw import RawStore, RejectedStore
from hitmesh.ports.reporting import MetricStore, ProgressReader
from hitmesh.ports.settling import DirtyDays, Generations, OrderClaims, RollupSink
from hitmesh.ports.streaming import Ledger, LogScan, Outbox, SeriesStore, StateStore

__all__ = [
    "Clock",
    "DirtyDays",
    "EventLog",
    "Generations",
    "Ledger",
    "LogReader",
    "LogScan",
    "MetricStore",
    "OrderClaims",
    "Outbox",
    "ProgressReader",
    "RawStore",
    "RejectedStore",
    "RollupSink",
    "SeriesStore",
    "SiteDirectory",
    "StateStore",
]
