"""What the parts of the mesh cost, as measured. docs/performance.md has the runs.

The costs are those of `hitmesh load` at 12,000 hits/s against real servers, with a state of 90 minutes, unless a field
names another run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Costs:
    """Measured costs. Times are CPU time of one core.

    Attributes:
        collector_us: µs per hit in the collector.
        processor_us: µs per hit in the processor of the stream.
        envoy_us: µs per hit in Envoy.
        kafka_us: µs per hit in Kafka, for each copy.
        cassandra_us: µs per hit in Cassandra, for each copy.
        indexer_us: µs per hit in Druid's indexers.
        druid_us: µs per hit in Druid's other servers.
        druid_row_us: µs per row in a Druid task, which ingests and merges with one thread.
        druid_rows: rows per hit that Druid ingests, in both data sources.
        druid_larger_rows: rows per hit of the larger data source (`traffic`).
        settled_hit_us: µs per hit of settlement, in a large site-day.
        settled_site_day_ms: ms per site-day of settlement, in addition to its hits (192 site-days of 1,000 hits).
        report_ms: ms of a report by day, in the reporter.
        record_us: µs of the collector for each record of the log, in addition to its hits. Derived from packing with
            140, 570 and 4,000 rows per record.
        log_bytes: bytes per hit in Kafka's topic of hits.
        rows_bytes: bytes per hit in Kafka's topics of rows.
        stored_bytes: bytes per hit in Cassandra, for each copy. The raw records are `log_bytes` of them.
        segment_bytes: bytes per hit in Druid's segments.
        open_visits: open visits in the state, for each hit of the last 90 minutes.
        visit_bytes: bytes of memory for each open visit.
        kept_bytes: bytes of memory-mapped files for each open visit.
        replayed_hits_s: hits per second at which a processor builds its state from the log.
    """

    collector_us: float = 16.0
    processor_us: float = 41.0
    envoy_us: float = 2.0
    kafka_us: float = 3.0
    cassandra_us: float = 21.0
    indexer_us: float = 39.0
    druid_us: float = 5.0
    druid_row_us: float = 18.0
    druid_rows: float = 1.98
    druid_larger_rows: float = 1.10
    settled_hit_us: float = 4.8
    settled_site_day_ms: float = 63.0
    report_ms: float = 140.0
    record_us: float = 450.0
    log_bytes: float = 69.0
    rows_bytes: float = 81.0
    stored_bytes: float = 88.0
    segment_bytes: float = 39.0
    open_visits: float = 0.175
    visit_bytes: float = 259.0
    kept_bytes: float = 1_900.0
    replayed_hits_s: float = 122_000.0


MEASURED: Final = Costs()


@dataclass(frozen=True, slots=True)
class Rules:
    """How full the plan makes things, and how large.

    Attributes:
        use: share of a core that is used at the peak. With three zones, the remaining cores of two zones are used by
            90 % if a zone is lost.
        state_s: seconds of log time that the state of a stream covers (rules T4 and S1).
        hits_days: days for which Kafka keeps hits.
        rows_days: days for which Kafka keeps rows for Druid.
        raw_days: shortest time for which raw records are kept, because a hit may be 13 months old (rule T3).
        settle_s: seconds of a day in which settlers must settle the day.
        replication: copies of each Kafka partition, Cassandra row and Druid segment.
        broker_cores, broker_bytes: cores and bytes of data of a Kafka broker.
        cassandra_cores, cassandra_bytes: the same, for a Cassandra node. A node needs about as much free disk again.
        druid_cores, historical_bytes: cores of a node with Druid's indexers; bytes of segments of a historical.
        pod_cores: cores that a pod of a service can use, by service.
        base_bytes: memory of a pod without state, by service.
        cached_sites: sites and keys that a process caches.
    """

    use: float = 0.6
    state_s: float = 5_400.0
    hits_days: float = 7.0
    rows_days: float = 7.0
    raw_days: float = 430.0
    settle_s: float = 12 * 3_600.0
    replication: int = 3
    broker_cores: float = 4.0
    broker_bytes: float = 3e12
    cassandra_cores: float = 16.0
    cassandra_bytes: float = 2e12
    druid_cores: float = 8.0
    historical_bytes: float = 6e12
    pod_cores: float = 1.0
    base_bytes: float = 1.0 * 2**30
    cached_sites: float = 100_000.0


RULES: Final = Rules()
