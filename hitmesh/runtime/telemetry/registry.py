"""Defines all metrics: name, unit, meaning, labels. The table in docs/telemetry.md is generated from this module.

A name is `hitmesh_<part>_<quantity>_<unit>`, with `_total` appended for a counter. The meaning of a name never changes.
"""

from __future__ import annotations

from typing import Any, Final

from hitmesh.runtime.telemetry import labels
from hitmesh.runtime.telemetry.kinds import Counter, Gauge, Histogram, Metric, ReadCounter, Unit

_DURATIONS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_LONG_DURATIONS_S: Final = (0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0)
_LAGS_S: Final = (0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 86_400.0)
_HITS: Final = (1.0, 10.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0, 20_000.0, 50_000.0)
_BATCH_BYTES: Final = tuple(float(1 << bits) for bits in range(10, 25, 2))
_SNAPSHOT_BYTES: Final = tuple(float(1 << bits) for bits in range(12, 33, 2))

COLLECTOR_HITS: Final = Counter(
    "hitmesh_collector_hits_total",
    Unit.HITS,
    "Hits by the outcome reported to the client; accepted and rejected hits are durable",
    labels.by_hit_outcome,
)
COLLECTOR_ISSUES: Final = Counter(
    "hitmesh_collector_issues_total",
    Unit.ISSUES,
    "Issues reported to clients; an issue concerns a hit, a whole batch or an ended stream",
    labels.by_issue,
)
COLLECTOR_QUOTA_HITS: Final = Counter(
    "hitmesh_collector_quota_refused_hits_total",
    Unit.HITS,
    "Hits in batches that must be sent again because a quota is used up, by the quota with the longest wait",
    labels.by_quota,
)
COLLECTOR_LIVE: Final = Gauge(
    "hitmesh_collector_live_collectors",
    Unit.COLLECTORS,
    "Number of live collectors, including this collector, that share quotas",
    labels.unlabelled,
)
COLLECTOR_BATCH_HITS: Final = Histogram(
    "hitmesh_collector_batch_hits",
    Unit.HITS,
    "Number of hits in a micro-batch, including refused hits",
    labels.unlabelled,
    _HITS,
)
COLLECTOR_BATCH_BYTES: Final = Histogram(
    "hitmesh_collector_batch_bytes",
    Unit.BYTES,
    "Size of a micro-batch as its senders encoded it",
    labels.unlabelled,
    _BATCH_BYTES,
)
COLLECTOR_ACK_SECONDS: Final = Histogram(
    "hitmesh_collector_ack_latency_seconds",
    Unit.SECONDS,
    "Time from the arrival of a client's batch until the whole batch is durable or refused",
    labels.unlabelled,
    _DURATIONS_S,
)
COLLECTOR_OPEN_STREAMS: Final = Gauge("hitmesh_collector_open_streams", Unit.STREAMS, "Open streams", labels.unlabelled)
COLLECTOR_INFLIGHT_BYTES: Final = Gauge(
    "hitmesh_collector_inflight_bytes",
    Unit.BYTES,
    "Total size of unacknowledged batches, over all streams and calls",
    labels.unlabelled,
)
COLLECTOR_RECORDS: Final = Counter(
    "hitmesh_collector_records_total",
    Unit.RECORDS,
    "Records made durable in the log, excluding heartbeats",
    labels.by_topic,
)
COLLECTOR_APPEND_FAILURES: Final = Counter(
    "hitmesh_collector_append_failures_total",
    Unit.FAILURES,
    "Records that the log failed to append",
    labels.by_store_reason,
)

PROCESSOR_RECORDS: Final = Counter(
    "hitmesh_processor_records_total", Unit.RECORDS, "Records read from the log, including heartbeats", labels.by_topic
)
PROCESSOR_HITS: Final = Counter(
    "hitmesh_processor_hits_total", Unit.HITS, "Accepted hits read from the log, including copies", labels.unlabelled
)
PROCESSOR_PATH_HITS: Final = Counter(
    "hitmesh_processor_path_hits_total", Unit.HITS, "Hits by their path through the stream", labels.by_path
)
PROCESSOR_STEP_SECONDS: Final = Histogram(
    "hitmesh_processor_step_duration_seconds",
    Unit.SECONDS,
    "Duration of a step that processes a window",
    labels.by_stage,
    _DURATIONS_S,
)
PROCESSOR_BATCH_HITS: Final = Histogram(
    "hitmesh_processor_batch_hits",
    Unit.HITS,
    "Number of accepted hits in a window of records",
    labels.unlabelled,
    _HITS,
)
PROCESSOR_ROWS: Final = Counter(
    "hitmesh_processor_rows_total",
    Unit.ROWS,
    "Committed signed rows; this number divided by hitmesh_processor_hits_total is the number of rows per hit",
    labels.by_row_kind,
)
PROCESSOR_LAG_SECONDS: Final = Gauge(
    "hitmesh_processor_lag_seconds",
    Unit.SECONDS,
    "Current time minus a partition's committed log time; negative if that log time is in the future",
    labels.by_partition,
)
PROCESSOR_WATERMARK_AGE_SECONDS: Final = Gauge(
    "hitmesh_processor_watermark_age_seconds",
    Unit.SECONDS,
    "Age of the log time up to which partials and ledger are stored; negative if that log time is in the future",
    labels.by_partition,
)
PROCESSOR_TRANSACTION_SECONDS: Final = Histogram(
    "hitmesh_processor_transaction_duration_seconds",
    Unit.SECONDS,
    "Duration of a transaction that writes rows and positions",
    labels.unlabelled,
    _DURATIONS_S,
)
PROCESSOR_TRANSACTIONS: Final = Counter(
    "hitmesh_processor_transactions_total",
    Unit.TRANSACTIONS,
    "Transactions that write rows and positions",
    labels.by_transaction_result,
)
PROCESSOR_SNAPSHOT_SECONDS: Final = Histogram(
    "hitmesh_processor_snapshot_duration_seconds",
    Unit.SECONDS,
    "Time to write a partition's snapshot: chunks and manifest",
    labels.unlabelled,
    _LONG_DURATIONS_S,
)
PROCESSOR_SNAPSHOT_BYTES: Final = Histogram(
    "hitmesh_processor_snapshot_bytes",
    Unit.BYTES,
    "Size of a partition's snapshot",
    labels.unlabelled,
    _SNAPSHOT_BYTES,
)
PROCESSOR_REPLAY_SECONDS: Final = Histogram(
    "hitmesh_processor_replay_duration_seconds",
    Unit.SECONDS,
    "Time to restore a partition's state from its snapshot and from the records after the snapshot",
    labels.unlabelled,
    _LONG_DURATIONS_S,
)
PROCESSOR_REPLAYED_HITS: Final = Counter(
    "hitmesh_processor_replayed_hits_total",
    Unit.HITS,
    "Hits that were read again to restore a partition's state",
    labels.unlabelled,
)
PROCESSOR_RECOVERIES: Final = Counter(
    "hitmesh_processor_recoveries_total",
    Unit.RECOVERIES,
    "Rebuilds of a partition's state from the log, including the first rebuild after a start",
    labels.unlabelled,
)
PROCESSOR_OPEN_VISITS: Final = Gauge(
    "hitmesh_processor_open_visits",
    Unit.VISITS,
    "Open visits in the state of the process's partitions",
    labels.unlabelled,
)
PROCESSOR_KEPT_HITS: Final = Gauge(
    "hitmesh_processor_kept_hits",
    Unit.HITS,
    "Recent hits that the state keeps, so that out-of-order hits can change visits",
    labels.unlabelled,
)
PROCESSOR_SETTLED: Final = Counter(
    "hitmesh_processor_settled_site_days_total",
    Unit.SITE_DAYS,
    "Finished settlements of site-days",
    labels.by_settled_result,
)
PROCESSOR_DRIFT: Final = Counter(
    "hitmesh_processor_drift_site_days_total",
    Unit.SITE_DAYS,
    "Settled site-days that differ from the stream's result",
    labels.by_drift,
)
PROCESSOR_REPROCESSED: Final = Counter(
    "hitmesh_processor_reprocessed_site_days_total",
    Unit.SITE_DAYS,
    "Site-days that reprocessings recomputed, published, rolled back or cancelled",
    labels.by_reprocessed_result,
)
PROCESSOR_LEASED_BUCKETS: Final = Gauge(
    "hitmesh_processor_leased_buckets",
    Unit.BUCKETS,
    "Number of site buckets, out of 32, that this process's settlers lease",
    labels.unlabelled,
)
PROCESSOR_UNBALANCED_HITS: Final = Gauge(
    "hitmesh_processor_ledger_unbalanced_hits",
    Unit.HITS,
    "Number of hits by which the ledger is out of balance (rule D5); a value other than 0 means a loss or a bug",
    labels.unlabelled,
)
PROCESSOR_STORE_ERRORS: Final = Counter(
    "hitmesh_processor_store_errors_total", Unit.ERRORS, "Store errors, by reason", labels.by_store_reason
)

REPORTER_ROWS: Final = Counter(
    "hitmesh_reporter_rows_total", Unit.ROWS, "Rows that stores returned for reports", labels.unlabelled
)
REPORTER_FRESHNESS_SECONDS: Final = Histogram(
    "hitmesh_reporter_freshness_lag_seconds",
    Unit.SECONDS,
    "Current time minus the `complete_through` of a report",
    labels.unlabelled,
    _LAGS_S,
)
REPORTER_STORE_ERRORS: Final = Counter(
    "hitmesh_reporter_store_errors_total",
    Unit.ERRORS,
    "Calls that ended with a store error, by reason",
    labels.by_store_reason,
)

CONTROL_STORE_ERRORS: Final = Counter(
    "hitmesh_control_store_errors_total",
    Unit.ERRORS,
    "Calls that ended with a store error, by reason",
    labels.by_store_reason,
)

RPC_SECONDS: Final = Histogram(
    "hitmesh_rpc_server_call_duration_seconds",
    Unit.SECONDS,
    "Time in the handler of a call with a single request, like OpenTelemetry's rpc.server.call.duration",
    labels.by_call,
    _DURATIONS_S,
)

PROCESS_CPU_SECONDS: Final = ReadCounter(
    "hitmesh_process_cpu_seconds_total",
    Unit.SECONDS,
    "User and system CPU time of the process",
    labels.unlabelled,
)
PROCESS_RESIDENT_BYTES: Final = Gauge(
    "hitmesh_process_resident_bytes", Unit.BYTES, "Resident memory, including shared pages", labels.unlabelled
)
BUILD_INFO: Final = Gauge("hitmesh_build_info", Unit.INFO, "Always 1; the labels identify the build", labels.by_build)

REGISTRY: Final[tuple[Metric[Any], ...]] = (
    COLLECTOR_HITS,
    COLLECTOR_ISSUES,
    COLLECTOR_QUOTA_HITS,
    COLLECTOR_LIVE,
    COLLECTOR_BATCH_HITS,
    COLLECTOR_BATCH_BYTES,
    COLLECTOR_ACK_SECONDS,
    COLLECTOR_OPEN_STREAMS,
    COLLECTOR_INFLIGHT_BYTES,
    COLLECTOR_RECORDS,
    COLLECTOR_APPEND_FAILURES,
    PROCESSOR_RECORDS,
    PROCESSOR_HITS,
    PROCESSOR_PATH_HITS,
    PROCESSOR_STEP_SECONDS,
    PROCESSOR_BATCH_HITS,
    PROCESSOR_ROWS,
    PROCESSOR_LAG_SECONDS,
    PROCESSOR_WATERMARK_AGE_SECONDS,
    PROCESSOR_TRANSACTION_SECONDS,
    PROCESSOR_TRANSACTIONS,
    PROCESSOR_SNAPSHOT_SECONDS,
    PROCESSOR_SNAPSHOT_BYTES,
    PROCESSOR_REPLAY_SECONDS,
    PROCESSOR_REPLAYED_HITS,
    PROCESSOR_RECOVERIES,
    PROCESSOR_OPEN_VISITS,
    PROCESSOR_KEPT_HITS,
    PROCESSOR_SETTLED,
    PROCESSOR_DRIFT,
    PROCESSOR_REPROCESSED,
    PROCESSOR_LEASED_BUCKETS,
    PROCESSOR_UNBALANCED_HITS,
    PROCESSOR_STORE_ERRORS,
    REPORTER_ROWS,
    REPORTER_FRESHNESS_SECONDS,
    REPORTER_STORE_ERRORS,
    CONTROL_STORE_ERRORS,
    RPC_SECONDS,
    PROCESS_CPU_SECONDS,
    PROCESS_RESIDENT_BYTES,
    BUILD_INFO,
)
"""All metrics defined above, in order."""
