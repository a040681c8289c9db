"""Every port over one store, as a value: what `open_stores` returns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hitmesh.model.positions import Topic
from hitmesh.ports import (
    DirtyDays,
    EventLog,
    Generations,
    Ledger,
    LogReader,
    LogScan,
    MetricStore,
    OrderClaims,
    Outbox,
    ProgressReader,
    RawStore,
    RejectedStore,
    RollupSink,
    SeriesStore,
    SiteDirectory,
    StateStore,
)

# How long bytes of refused hits are kept.
KEEP_REFUSED_DAYS: Final = 30


@dataclass(frozen=True, slots=True)
class Stores:
    """Every port over one store.

    `log_reader(topic, group)` makes a reader, which its user closes. `trim(older_than_ms)` deletes log records of log
    time below that instant that every group committed, and returns how many. `check` opens all files and brings their
    schemas to the newest version, so that a service learns at its start of one that it cannot use (StoreCorrupt,
    Unavailable); until then a file is opened when it is first used. `close` closes the log, then all files or
    connections; a second call changes nothing.
    """

    log: EventLog
    log_reader: Callable[[Topic, str], LogReader]
    log_scan: LogScan
    raw: RawStore
    rejected: RejectedStore
    dirty: DirtyDays
    generations: Generations
    claims: OrderClaims
    outbox: Outbox
    series: SeriesStore
    ledger: Ledger
    states: StateStore
    sink: RollupSink
    metrics: MetricStore
    progress: ProgressReader
    directory: SiteDirectory
    trim: Callable[[int], int]
    close: Callable[[], None]
    check: Callable[[], None] = lambda: None
