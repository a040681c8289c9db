"""Build an adapter for every port (hitmesh.ports) on Kafka, Cassandra and Druid.

Only this module imports the adapters of all three servers. The module itself is imported only when a store URL names
servers. The module decides which server stores which data (architecture §4). A connection is opened when an adapter
first needs the server.
"""

from __future__ import annotations

from hitmesh.adapters.cassandra.claims import CassandraOrderClaims
from hitmesh.adapters.cassandra.collector_reports import CassandraCollectorReports
from hitmesh.adapters.cassandra.directory import CassandraSiteDirectory
from hitmesh.adapters.cassandra.dirty import CassandraDirtyDays
from hitmesh.adapters.cassandra.dropped import DroppedRows
from hitmesh.adapters.cassandra.erasures import CassandraErasures
from hitmesh.adapters.cassandra.generations import CassandraGenerations
from hitmesh.adapters.cassandra.leases import CassandraLeases
from hitmesh.adapters.cassandra.ledger import CassandraLedger
from hitmesh.adapters.cassandra.logs import DeclaredLogs
from hitmesh.adapters.cassandra.merchants import CassandraMerchants
from hitmesh.adapters.cassandra.probe import CassandraProbe
from hitmesh.adapters.cassandra.progress import CassandraProgress
from hitmesh.adapters.cassandra.raw import CassandraRawStore
from hitmesh.adapters.cassandra.rejected import CassandraRejectedStore
from hitmesh.adapters.cassandra.reporter_reports import CassandraReporterReports
from hitmesh.adapters.cassandra.reprocessings import CassandraReprocessings
from hitmesh.adapters.cassandra.series import CassandraSeriesStore
from hitmesh.adapters.cassandra.session import CassandraSession
from hitmesh.adapters.cassandra.states import CassandraStateStore
from hitmesh.adapters.cassandra.streams import CassandraStreams
from hitmesh.adapters.cassandra.writers import Writers
from hitmesh.adapters.druid.client import DruidClient
from hitmesh.adapters.druid.metrics import DruidMetricStore
from hitmesh.adapters.druid.sink import DruidRollupSink
from hitmesh.adapters.kafka.log import KafkaEventLog
from hitmesh.adapters.kafka.log_eraser import KafkaLogEraser
from hitmesh.adapters.kafka.log_reader import KafkaLogReader
from hitmesh.adapters.kafka.log_scan import KafkaLogScan
from hitmesh.adapters.kafka.members import GroupMembers
from hitmesh.adapters.kafka.outbox import KafkaOutbox
from hitmesh.adapters.kafka.probe import KafkaProbe
from hitmesh.adapters.kafka.rollups import RollupProducer
from hitmesh.adapters.served import Served
from hitmesh.adapters.servers import Servers
from hitmesh.adapters.stores import KEEP_REFUSED_DAYS, Stores
from hitmesh.adapters.stream import OneStreamOnServers
from hitmesh.model.limits import UNKNOWN_KEYS_S
from hitmesh.ports import Clock


def stores_on(
    servers: Servers,
    clock: Clock,
    node: str,
    group: str,
    *,
    keep_refused_days: int = KEEP_REFUSED_DAYS,
    unknown_keys_s: int = UNKNOWN_KEYS_S,
) -> Stores:
    """Return an adapter for every port (hitmesh.ports), on Kafka, Cassandra and Druid.

    Args:
        servers: addresses of the servers, and the names of the mesh's topics, keyspace and data sources.
        clock: the only source of time.
        node: name of this instance. After a restart, an instance with the same name takes over the earlier instance's
            membership in consumer groups. The new instance also ends the earlier instance's open Kafka transactions.
        group: the processor's consumer group; its committed positions show how much of the log is processed.
        keep_refused_days: the number of days for which the bytes of newly refused hits are kept.
        unknown_keys_s: maximum number of look-ups per second for ingest keys that Cassandra does not have.
    """
    session, client = CassandraSession(servers), DruidClient(servers)
    catalogue, dropped, members = DeclaredLogs(session), DroppedRows(session), GroupMembers()
    log, series = KafkaEventLog(servers, catalogue), CassandraSeriesStore(session)
    progress = CassandraProgress(session, catalogue)
    outbox = KafkaOutbox(servers, catalogue, group, node, members, progress, Writers(session))
    producer = RollupProducer(servers, f"{servers.name}-settled-{node}")
    sink = DruidRollupSink(servers, client, producer, dropped, (series.drop,))
    metrics = DruidMetricStore(servers, client, catalogue, dropped)
    log_scan = KafkaLogScan(servers, catalogue)
    one_stream = OneStreamOnServers(servers, session, client, catalogue, metrics, group, node)

    def close() -> None:
        for resource in (log, outbox, producer, one_stream, log_scan, metrics, client, session):
            resource.close()

    return Stores(
        log=log,
        log_reader=lambda topic, of_group: KafkaLogReader(servers, catalogue, topic, of_group, node, members),
        log_scan=log_scan,
        raw=CassandraRawStore(session),
        rejected=CassandraRejectedStore(session, keep_bytes_days=keep_refused_days),
        dirty=CassandraDirtyDays(session),
        generations=CassandraGenerations(session),
        reprocessings=CassandraReprocessings(session),
        claims=CassandraOrderClaims(session),
        outbox=outbox,
        series=series,
        leases=CassandraLeases(session, Writers(session)),
        collector_reports=CassandraCollectorReports(session),
        reporter_reports=CassandraReporterReports(session),
        ledger=CassandraLedger(session),
        states=CassandraStateStore(session),
        sink=sink,
        metrics=metrics,
        progress=progress,
        directory=CassandraSiteDirectory(session, clock, unknown_keys_s=unknown_keys_s),
        merchants=CassandraMerchants(session),
        trim=lambda older_than_ms: 0,  # nothing to do, because Kafka's retention deletes old records
        erasures=CassandraErasures(session),
        log_eraser=KafkaLogEraser(servers),
        streams=CassandraStreams(session),
        stream=one_stream,
        close=close,
        probes={Served.LOG: KafkaProbe(servers), Served.TABLES: CassandraProbe(session), Served.ROWS: client.probe},
    )
