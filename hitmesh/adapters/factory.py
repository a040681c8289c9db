"""The only place that knows all adapters: a store URL in, every port out. Called by composition roots.

Nothing is opened here: a file is opened, and made, when a port first needs it, so a service pays for what it uses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hitmesh.adapters.embedded.compaction import Compaction
from hitmesh.adapters.embedded.directory import EmbeddedSiteDirectory
from hitmesh.adapters.embedded.generations import EmbeddedGenerations
from hitmesh.adapters.embedded.ledger import EmbeddedLedger
from hitmesh.adapters.embedded.log import DEFAULT_PARTITIONS, EmbeddedLog, LogCatalogue
from hitmesh.adapters.embedded.log_reader import EmbeddedLogReader, EmbeddedProgress
from hitmesh.adapters.embedded.log_scan import EmbeddedLogScan
from hitmesh.adapters.embedded.metrics import EmbeddedMetricStore
from hitmesh.adapters.embedded.outbox import EmbeddedOutbox
from hitmesh.adapters.embedded.raw import EmbeddedRawStore, EmbeddedRejectedStore
from hitmesh.adapters.embedded.reader_positions import ReaderPositions
from hitmesh.adapters.embedded.schema import DIRECTORY_SCHEMA, LOG_SCHEMA, RAW_SCHEMA, SETTLED_SCHEMA, STATE_SCHEMA
from hitmesh.adapters.embedded.segments import EmbeddedRollupSink, Segments
from hitmesh.adapters.embedded.series import EmbeddedSeriesStore
from hitmesh.adapters.embedded.settling import EmbeddedDirtyDays, EmbeddedOrderClaims
from hitmesh.adapters.embedded.sqlite import Database
from hitmesh.adapters.embedded.states import EmbeddedStateStore
from hitmesh.adapters.embedded.stream_rows import StreamRows
from hitmesh.adapters.memory.directory import MemorySiteDirectory
from hitmesh.adapters.memory.generations import MemoryGenerations
from hitmesh.adapters.memory.log import MemoryLog, MemoryLogReader, MemoryLogScan, MemoryProgress
from hitmesh.adapters.memory.raw import MemoryRawStore, MemoryRejectedStore
from hitmesh.adapters.memory.rows import MemoryRows
from hitmesh.adapters.memory.settling import MemoryDirtyDays, MemoryOrderClaims
from hitmesh.adapters.memory.streaming import MemoryLedger, MemoryOutbox, MemorySeriesStore, MemoryStateStore
from hitmesh.errors import RefusedError
from hitmesh.ports import (
    Clock,
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
    Topic,
)

# The group whose progress is the progress of the system.
PROCESSOR_GROUP: Final = "processor"
_MEMORY: Final = "memory:"
_EMBEDDED: Final = "embedded:"


@dataclass(frozen=True, slots=True)
class Stores:
    """Every port over one store.

    `log_reader(topic, group)` makes a reader, which its user closes. `trim(older_than_ms)` deletes log records of log
    time below that instant that every group committed, and returns how many. `close` closes the log, then all files;
    a second call changes nothing.
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


def open_stores(url: str, clock: Clock, *, partitions: Mapping[Topic, int] = DEFAULT_PARTITIONS) -> Stores:
    """Returns the ports over a store.

    Args:
        url: `memory:` for stores of their own per call, or `embedded:/absolute/directory`, shared by processes.
        clock: the only source of time.
        partitions: of the topics, when the store is made; an embedded store that exists keeps its own.

    Raises:
        RefusedError: the URL is neither (INVALID_CONFIG).
    """
    if url == _MEMORY:
        return _in_memory(clock, partitions)
    directory = Path(url.removeprefix(_EMBEDDED))
    if not url.startswith(_EMBEDDED) or not directory.is_absolute():
        raise RefusedError(
            f"store {url!r}: write {_MEMORY} or {_EMBEDDED}/absolute/directory",
            field="store",
            reason="INVALID_CONFIG",
        )
    return _embedded(directory, clock, partitions)


def _in_memory(clock: Clock, partitions: Mapping[Topic, int]) -> Stores:
    log, series = MemoryLog(clock, partitions), MemorySeriesStore()
    rows = MemoryRows(series)
    return Stores(
        log=log,
        log_reader=lambda topic, group: MemoryLogReader(log, topic, group),
        log_scan=MemoryLogScan(log),
        raw=MemoryRawStore(),
        rejected=MemoryRejectedStore(),
        dirty=MemoryDirtyDays(),
        generations=MemoryGenerations(),
        claims=MemoryOrderClaims(),
        outbox=MemoryOutbox(log, rows, PROCESSOR_GROUP),
        series=series,
        ledger=MemoryLedger(),
        states=MemoryStateStore(),
        sink=rows,
        metrics=rows,
        progress=MemoryProgress(log, PROCESSOR_GROUP),
        directory=MemorySiteDirectory(),
        trim=lambda older_than_ms: 0,
        close=log.close,
    )


def _embedded(directory: Path, clock: Clock, partitions: Mapping[Topic, int]) -> Stores:
    log_file = Database(directory / "log.db", LOG_SCHEMA)
    raw_file = Database(directory / "raw.db", RAW_SCHEMA)
    settled_file = Database(directory / "settled.db", SETTLED_SCHEMA)
    state_file = Database(directory / "state.db", STATE_SCHEMA)
    directory_file = Database(directory / "directory.db", DIRECTORY_SCHEMA, secure_delete=True)
    catalogue, committed = LogCatalogue(log_file, partitions), ReaderPositions(raw_file)
    log = EmbeddedLog(log_file, catalogue, committed, clock)
    segments, streamed = Segments(directory / "segments", settled_file), StreamRows(raw_file)
    series = EmbeddedSeriesStore(raw_file)

    def close() -> None:
        log.close()
        for file in (log_file, raw_file, settled_file, state_file, directory_file):
            file.close()

    return Stores(
        log=log,
        log_reader=lambda topic, group: EmbeddedLogReader(log_file, catalogue, committed, topic, group),
        log_scan=EmbeddedLogScan(log_file, catalogue),
        raw=EmbeddedRawStore(raw_file),
        rejected=EmbeddedRejectedStore(raw_file),
        dirty=EmbeddedDirtyDays(raw_file),
        generations=EmbeddedGenerations(settled_file),
        claims=EmbeddedOrderClaims(raw_file),
        outbox=EmbeddedOutbox(raw_file, catalogue, committed, PROCESSOR_GROUP, Compaction(raw_file)),
        series=series,
        ledger=EmbeddedLedger(raw_file),
        states=EmbeddedStateStore(state_file),
        sink=EmbeddedRollupSink(segments, clock, (streamed.drop, series.drop_generations)),
        metrics=EmbeddedMetricStore(segments, streamed),
        progress=EmbeddedProgress(catalogue, committed, PROCESSOR_GROUP),
        directory=EmbeddedSiteDirectory(directory_file, clock),
        trim=log.trim,
        close=close,
    )
