"""A settler's stores. Reprocessing and erasure, which run in the same thread, use these stores too."""

from __future__ import annotations

from dataclasses import dataclass

from hitmesh.ports import (
    DirtyDays,
    Erasures,
    Generations,
    Ledger,
    LogEraser,
    LogScan,
    MetricStore,
    OneStream,
    OrderClaims,
    ProgressReader,
    RawStore,
    RejectedStore,
    RollupSink,
    SeriesStore,
    SiteDirectory,
    StateStore,
    Streams,
)


@dataclass(frozen=True, slots=True)
class SettlerStores:
    """The stores that a settler reads and writes."""

    raw: RawStore
    rejected: RejectedStore
    dirty: DirtyDays
    generations: Generations
    claims: OrderClaims
    sink: RollupSink
    progress: ProgressReader
    directory: SiteDirectory
    series: SeriesStore
    ledger: Ledger
    metrics: MetricStore
    log_scan: LogScan
    erasures: Erasures
    states: StateStore
    log_eraser: LogEraser
    streams: Streams
    stream: OneStream
