"""The value that `open_stores` returns: every port over one store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hitmesh.model.positions import Topic
from hitmesh.ports import (
    DirtyDays,
    Erasures,
    EventLog,
    Generations,
    Ledger,
    LogEraser,
    LogReader,
    LogScan,
    MetricStore,
    OrderClaims,
    Outbox,
    ProgressReader,
    RawStore,
    RejectedStore,
    Reprocessings,
    RollupSink,
    SeriesStore,
    SiteDirectory,
    StateStore,
)

# Days for which the bytes of refused hits are kept.
KEEP_REFUSED_DAYS: Final = 30


@dataclass(frozen=True, slots=True)
class Stores:
    """Every port over one store.

    `log_reader(topic, group)` makes a reader, which the caller must close. `trim(older_than_ms)` deletes the log
    records that every consumer group has committed and whose log time is before `older_than_ms` (UTC ms), and returns
    the number of deleted records; only embedded stores delete records this way. `check` opens all files and migrates
    their schemas to the newest version, so that a service fails at start when a file is unusable (StoreCorrupt,
    Unavailable); without `check`, a file is opened at its first use. `close` closes the log, then all
    files or connections; a second call changes nothing.
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
    ledger: Ledger
    states: StateStore
    sink: RollupSink
    metrics: MetricStore
    progress: ProgressReader
    directory: SiteDirectory
    trim: Callable[[int], int]
    erasures: Erasures
    log_eraser: LogEraser
    close: Callable[[], None]
    check: Callable[[], None] = lambda: None
