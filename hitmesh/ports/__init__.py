"""What the services need from the outside, as protocols. Adapters live in hitmesh.adapters.

Each protocol states its promises; tests/contract holds one test class per port that every adapter passes. Values that
cross a port are frozen. All times are UTC milliseconds, all ranges half-open. Every call may raise
hitmesh.errors.Unavailable; other errors are named where they occur.
"""

from __future__ import annotations

from hitmesh.ports.directory import Clock, IngestKey, KeyKind, Site, SiteDirectory, VisitPolicy
from hitmesh.ports.log import (
    EventLog,
    LoggedPosition,
    LoggedRecord,
    LogReader,
    PartitionId,
    PartitionProgress,
    Position,
    Record,
    RecordKind,
    Topic,
)
from hitmesh.ports.raw import RawRecord, RawStore, RejectedHit, RejectedStore, SiteDay
from hitmesh.ports.reporting import MetricQuery, MetricStore, ProgressReader
from hitmesh.ports.settling import (
    SETTLEMENT_LOG,
    ClaimKind,
    DirtyDays,
    DirtyMark,
    DirtySiteDay,
    Drift,
    GenerationEntry,
    Generations,
    LedgerEntry,
    MarkRange,
    OrderClaim,
    OrderClaims,
    RollupSink,
    WholeRefund,
)
from hitmesh.ports.streaming import (
    FoldedRows,
    Ledger,
    LogScan,
    Outbox,
    SeriesStore,
    SnapshotManifest,
    StateStore,
)

__all__ = [
    "SETTLEMENT_LOG",
    "ClaimKind",
    "Clock",
    "DirtyDays",
    "DirtyMark",
    "DirtySiteDay",
    "Drift",
    "EventLog",
    "FoldedRows",
    "GenerationEntry",
    "Generations",
    "IngestKey",
    "KeyKind",
    "Ledger",
    "LedgerEntry",
    "LogReader",
    "LogScan",
    "LoggedPosition",
    "LoggedRecord",
    "MarkRange",
    "MetricQuery",
    "MetricStore",
    "OrderClaim",
    "OrderClaims",
    "Outbox",
    "PartitionId",
    "PartitionProgress",
    "Position",
    "ProgressReader",
    "RawRecord",
    "RawStore",
    "Record",
    "RecordKind",
    "RejectedHit",
    "RejectedStore",
    "RollupSink",
    "SeriesStore",
    "Site",
    "SiteDay",
    "SiteDirectory",
    "SnapshotManifest",
    "StateStore",
    "Topic",
    "VisitPolicy",
    "WholeRefund",
]
