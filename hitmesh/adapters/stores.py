"""The value that `open_stores` returns: an adapter for every port, all for the same store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from hitmesh.adapters.served import Probes
from hitmesh.model.positions import Topic
from hitmesh.ports import (
    CollectorReports,
    DirtyDays,
    Erasures,
    EventLog,
    Generations,
    Leases,
    Ledger,
    LogEraser,
    LogReader,
    LogScan,
    Merchants,
    MetricStore,
    OneStream,
    OrderClaims,
    Outbox,
    ProgressReader,
    RawStore,
    RejectedStore,
    ReporterReports,
    Reprocessings,
    RollupSink,
    SeriesStore,
    SiteDirectory,
    StateStore,
    Streams,
)

# The default number of days for which servers keep the bytes of refused hits.
KEEP_REFUSED_DAYS: Final = 30


@dataclass(frozen=True, slots=True)
class Stores:
    """An adapter for every port, all for the same store.

    `log_reader(topic, group)` makes a reader, which the caller must close. `outbox`, `states`, `progress` and the
    flushed positions in `series` belong to the first stream. `stream` returns the stores of any stream.
    `trim(older_than_ms)` deletes log records and returns the number of deleted records. `trim` deletes a record if
    every consumer group has committed the record and its log time is before `older_than_ms` (UTC ms). Only embedded
    stores delete records. `check` opens all files and migrates their schemas to the newest version. If a file is
    unusable, the service therefore fails at its start (StoreCorrupt, Unavailable). If `check` is not called, each file
    is opened at its first use. `probes` has a function for each part of the stores, for one thread at a time. `close`
    closes the log, then all files or connections; a second call changes nothing.
    """

    log: EventLog
    log_reader: Callable[[Topic, str], LogReader]
    log_scan: LogScan
    raw: RawStore
    rejected: RejectedStore
    dirty: DirtyDays
    generations: Generations
    reprocessings: Reprocessings
    claims: OrderClaims
    outbox: Outbox
    series: SeriesStore
    leases: Leases
    collector_reports: CollectorReports
    reporter_reports: ReporterReports
    ledger: Ledger
    states: StateStore
    sink: RollupSink
    metrics: MetricStore
    progress: ProgressReader
    directory: SiteDirectory
    merchants: Merchants
    trim: Callable[[int], int]
    erasures: Erasures
    log_eraser: LogEraser
    streams: Streams
    stream: OneStream
    close: Callable[[], None]
    check: Callable[[], None] = lambda: None
    probes: Probes = field(default_factory=dict)
