"""Build an adapter for every port (hitmesh.ports) from a store URL.

Composition roots call `open_stores`. Only this module imports all embedded and memory adapters. A file is opened, and
created if absent, when an adapter first uses the file. A service therefore opens only the files of the ports that the
service uses. Server drivers are imported only when the URL names servers.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final

from hitmesh.adapters.directories import in_files
from hitmesh.adapters.embedded.catalogue import LogCatalogue
from hitmesh.adapters.embedded.claims import EmbeddedOrderClaims
from hitmesh.adapters.embedded.collector_reports import EmbeddedCollectorReports
from hitmesh.adapters.embedded.dirty import EmbeddedDirtyDays
from hitmesh.adapters.embedded.disk import probe_disk
from hitmesh.adapters.embedded.erasures import EmbeddedErasures
from hitmesh.adapters.embedded.generations import EmbeddedGenerations
from hitmesh.adapters.embedded.leases import LEASES_SCHEMA, EmbeddedLeases
from hitmesh.adapters.embedded.ledger import EmbeddedLedger
from hitmesh.adapters.embedded.log import EmbeddedLog
from hitmesh.adapters.embedded.log_eraser import EmbeddedLogEraser
from hitmesh.adapters.embedded.log_reader import EmbeddedLogReader
from hitmesh.adapters.embedded.log_scan import EmbeddedLogScan
from hitmesh.adapters.embedded.metrics import EmbeddedMetricStore
from hitmesh.adapters.embedded.raw import EmbeddedRawStore
from hitmesh.adapters.embedded.raw_schema import RAW_SCHEMA
from hitmesh.adapters.embedded.reader_positions import ReaderPositions
from hitmesh.adapters.embedded.rejected import EmbeddedRejectedStore
from hitmesh.adapters.embedded.reporter_reports import EmbeddedReporterReports
from hitmesh.adapters.embedded.reprocessings import EmbeddedReprocessings
from hitmesh.adapters.embedded.schema import LOG_SCHEMA, SETTLED_SCHEMA, STATE_SCHEMA
from hitmesh.adapters.embedded.segments import Segments
from hitmesh.adapters.embedded.series import EmbeddedSeriesStore
from hitmesh.adapters.embedded.sink import EmbeddedRollupSink
from hitmesh.adapters.embedded.sqlite import Database
from hitmesh.adapters.embedded.stream import EmbeddedOneStream
from hitmesh.adapters.embedded.stream_rows import StreamRows
from hitmesh.adapters.embedded.streams import EmbeddedStreams
from hitmesh.adapters.memory.claims import MemoryOrderClaims
from hitmesh.adapters.memory.collector_reports import MemoryCollectorReports
from hitmesh.adapters.memory.directory import MemorySiteDirectory
from hitmesh.adapters.memory.dirty import MemoryDirtyDays
from hitmesh.adapters.memory.erasures import MemoryErasures
from hitmesh.adapters.memory.generations import MemoryGenerations
from hitmesh.adapters.memory.leases import MemoryLeases
from hitmesh.adapters.memory.ledger import MemoryLedger
from hitmesh.adapters.memory.log import MemoryLog
from hitmesh.adapters.memory.log_eraser import MemoryLogEraser
from hitmesh.adapters.memory.log_reader import MemoryLogReader
from hitmesh.adapters.memory.log_scan import MemoryLogScan
from hitmesh.adapters.memory.merchants import MemoryMerchants
from hitmesh.adapters.memory.metrics import MemoryMetricStore
from hitmesh.adapters.memory.raw import MemoryRawStore
from hitmesh.adapters.memory.rejected import MemoryRejectedStore
from hitmesh.adapters.memory.reporter_reports import MemoryReporterReports
from hitmesh.adapters.memory.reprocessings import MemoryReprocessings
from hitmesh.adapters.memory.rows import MemoryRows
from hitmesh.adapters.memory.series import MemorySeriesStore
from hitmesh.adapters.memory.sink import MemoryRollupSink
from hitmesh.adapters.memory.stream import MemoryOneStream
from hitmesh.adapters.memory.streams import MemoryStreams
from hitmesh.adapters.served import Served
from hitmesh.adapters.servers import SCHEME, parse_servers
from hitmesh.adapters.shared.catalogue import DEFAULT_PARTITIONS
from hitmesh.adapters.stores import KEEP_REFUSED_DAYS, Stores
from hitmesh.adapters.urls import MEMORY, embedded_directory, without_driver
from hitmesh.model.generations import STREAM_GENERATION
from hitmesh.model.limits import UNKNOWN_KEYS_S
from hitmesh.model.positions import Topic
from hitmesh.ports import Clock

__all__ = ["KEEP_REFUSED_DAYS", "PROCESSOR_GROUP", "Stores", "open_stores"]

# The processor's consumer group; its committed positions show how much of the log the processor has processed.
PROCESSOR_GROUP: Final = "processor"


def open_stores(
    url: str,
    clock: Clock,
    *,
    node: str = "dev-0",
    partitions: Mapping[Topic, int] = DEFAULT_PARTITIONS,
    keep_refused_days: int = KEEP_REFUSED_DAYS,
    unknown_keys_s: int = UNKNOWN_KEYS_S,
) -> Stores:
    """Return an adapter for every port; all adapters use the store that the URL names.

    Args:
        url: the store URL. `memory:` makes new stores that no other call shares. `embedded:/absolute/directory` names a
            directory that several processes may share. `servers:?kafka=…&cassandra=…&broker=…&coordinator=…` names the
            addresses of servers.
        clock: the only source of time.
        node: this instance's name, which no other instance of the same service has; only servers use the name.
        partitions: number of partitions per topic for a new store; ignored for existing files and for servers.
        keep_refused_days: the number of days for which servers keep the bytes of refused hits; other stores keep the
            bytes until `drop_bytes` is called.
        unknown_keys_s: maximum number of look-ups for unknown ingest keys per second; the memory store has no limit.

    Raises:
        RefusedError: the URL has none of the three forms of a store URL, or a driver is not installed (INVALID_CONFIG).
    """
    if url == MEMORY:
        return _in_memory(clock, partitions)
    if url.startswith(SCHEME):
        return _on_servers(url, clock, node, keep_refused_days, unknown_keys_s)
    return _embedded(embedded_directory(url), clock, partitions, unknown_keys_s)


def _on_servers(url: str, clock: Clock, node: str, keep_refused_days: int, unknown_keys_s: int) -> Stores:
    servers = parse_servers(url)
    try:
        from hitmesh.adapters.on_servers import stores_on
    except ModuleNotFoundError as error:
        raise without_driver(url, error) from error
    return stores_on(
        servers, clock, node, PROCESSOR_GROUP, keep_refused_days=keep_refused_days, unknown_keys_s=unknown_keys_s
    )


def _in_memory(clock: Clock, partitions: Mapping[Topic, int]) -> Stores:
    log, series, rows = MemoryLog(clock, partitions), MemorySeriesStore(), MemoryRows()
    one_stream = MemoryOneStream(log, rows, series, PROCESSOR_GROUP)
    first = one_stream(STREAM_GENERATION, is_shadow=False)
    return Stores(
        log=log,
        log_reader=lambda topic, group: MemoryLogReader(log, topic, group),
        log_scan=MemoryLogScan(log),
        raw=MemoryRawStore(),
        rejected=MemoryRejectedStore(),
        dirty=MemoryDirtyDays(),
        generations=MemoryGenerations(),
        reprocessings=MemoryReprocessings(),
        claims=MemoryOrderClaims(),
        outbox=first.outbox,
        series=series,
        leases=MemoryLeases(clock),
        collector_reports=MemoryCollectorReports(clock),
        reporter_reports=MemoryReporterReports(clock),
        ledger=MemoryLedger(),
        states=first.states,
        sink=MemoryRollupSink(rows, series),
        metrics=MemoryMetricStore(rows, first.progress),
        progress=first.progress,
        directory=MemorySiteDirectory(),
        merchants=MemoryMerchants(),
        trim=lambda older_than_ms: 0,
        erasures=MemoryErasures(),
        log_eraser=MemoryLogEraser(log),
        streams=MemoryStreams(),
        stream=one_stream,
        close=log.close,
    )


def _embedded(directory: Path, clock: Clock, partitions: Mapping[Topic, int], unknown_keys_s: int) -> Stores:
    log_file = Database(directory / "log.db", LOG_SCHEMA)
    raw_file = Database(directory / "raw.db", RAW_SCHEMA)
    settled_file = Database(directory / "settled.db", SETTLED_SCHEMA)
    state_file = Database(directory / "state.db", STATE_SCHEMA)
    leases_file = Database(directory / "leases.db", LEASES_SCHEMA)
    files = (log_file, raw_file, settled_file, state_file, leases_file)
    sites_and_keys = in_files(directory, clock, unknown_keys_s)
    catalogue, committed = LogCatalogue(log_file, partitions), ReaderPositions(raw_file)
    log = EmbeddedLog(log_file, catalogue, committed, clock)
    segments, streamed = Segments(directory / "segments", settled_file), StreamRows(raw_file)
    one_stream = EmbeddedOneStream(log_file, raw_file, state_file, catalogue, committed, PROCESSOR_GROUP)
    first, series = one_stream(STREAM_GENERATION, is_shadow=False), EmbeddedSeriesStore(raw_file)

    def close() -> None:
        log.close()
        for file in files:
            file.close()
        sites_and_keys.close()

    def check() -> None:
        for file in files:
            file.open()
        sites_and_keys.check()

    return Stores(
        log=log,
        log_reader=lambda topic, group: EmbeddedLogReader(log_file, catalogue, committed, topic, group),
        log_scan=EmbeddedLogScan(log_file, catalogue),
        raw=EmbeddedRawStore(raw_file),
        rejected=EmbeddedRejectedStore(raw_file),
        dirty=EmbeddedDirtyDays(raw_file),
        generations=EmbeddedGenerations(settled_file, segments.size),
        reprocessings=EmbeddedReprocessings(settled_file),
        claims=EmbeddedOrderClaims(raw_file),
        outbox=first.outbox,
        series=series,
        leases=EmbeddedLeases(leases_file, clock),
        collector_reports=EmbeddedCollectorReports(leases_file, clock),
        reporter_reports=EmbeddedReporterReports(leases_file, clock),
        ledger=EmbeddedLedger(raw_file),
        states=first.states,
        sink=EmbeddedRollupSink(segments, clock, (streamed.drop, series.drop)),
        metrics=EmbeddedMetricStore(segments, streamed, first.progress),
        progress=first.progress,
        directory=sites_and_keys.port,
        merchants=sites_and_keys.merchants,
        trim=log.trim,
        erasures=EmbeddedErasures(settled_file),
        log_eraser=EmbeddedLogEraser(log_file, catalogue, files),
        streams=EmbeddedStreams(settled_file),
        stream=one_stream,
        close=close,
        check=check,
        probes={Served.FILES: partial(probe_disk, directory)},
    )
