"""The service-level objectives and the alerts of a mesh, from which `dev.make_observability` makes rules."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from hitmesh.runtime.telemetry.labels import FAULTS

RUNBOOKS: Final = "observability/runbooks"
_FAULTS: Final = "|".join(FAULTS)
_RUN_REPORT: Final = 'rpc_method="hitmesh.api.reporter.v1.ReporterService/RunReport"'
_REPORTS: Final = 'rpc_method=~"hitmesh.api.reporter.v1.(ReporterService/RunReport|ExportService/ExportReport)"'


class Severity(StrEnum):
    """How soon an alert needs a person: `page` at once, `ticket` on the next working day."""

    PAGE = "page"
    TICKET = "ticket"


@dataclass(frozen=True, slots=True)
class Slo:
    """An objective.

    Attributes:
        alert: name of the alert and of its runbook.
        name: the middle of the recording rules' names.
        goal: the share of events that must be good.
        bad: rate of bad events; WINDOW stands for the range.
        events: rate of all events.
        meaning: one sentence.
        page_events: number of events in a page's long window below which nobody is paged; a ticket needs no minimum.
    """

    alert: str
    name: str
    goal: float
    bad: str
    events: str
    meaning: str
    page_events: int = 0

    def rule(self, window: str) -> str:
        """Return the name of the recording rule for the share of bad events."""
        return f"hitmesh:{self.name}:ratio_rate{window}"


def _slower(histogram: str, within: str, matchers: str = "") -> tuple[str, str]:
    """Return the rate of values above a bucket's bound, and the rate of all values.

    Prometheus writes a whole bound with ".0", and values that arrive with OTLP without.
    """
    inner = f"{{{matchers}}}" if matchers else ""
    bound = f'le=~"{within}(\\\\.0)?"' if within.isdecimal() else f'le="{within}"'
    below = f"{{{', '.join(filter(None, (matchers, bound)))}}}"
    events = f"sum(rate({histogram}_count{inner}[WINDOW]))"
    return f"{events} - sum(rate({histogram}_bucket{below}[WINDOW]))", events


# Hits that a quota refuses are counted as hits to be sent again, but their sender is the cause.
_OVER_QUOTA: Final = "(sum(rate(hitmesh_collector_quota_refused_hits_total[WINDOW])) or vector(0))"
# A mesh whose users ask a few questions an hour must not page for one slow or failed report.
_PAGE_REPORTS: Final = 100

SLOS: Final = (
    Slo(
        "HitmeshAckAvailability",
        "ack_errors",
        0.999,
        f'sum(rate(hitmesh_collector_hits_total{{outcome="retry"}}[WINDOW])) - {_OVER_QUOTA}',
        f"sum(rate(hitmesh_collector_hits_total[WINDOW])) - {_OVER_QUOTA}",
        "99.9 % of hits within their quotas are made durable or refused without a retry",
    ),
    Slo(
        "HitmeshAckLatency",
        "ack_slow",
        0.99,
        *_slower("hitmesh_collector_ack_latency_seconds", "1"),
        "99 % of batches are acknowledged within 1 s",
    ),
    Slo(
        "HitmeshFreshness",
        "report_stale",
        0.99,
        *_slower("hitmesh_reporter_freshness_lag_seconds", "60"),
        "99 % of reports contain all hits up to 60 s before the report",
        _PAGE_REPORTS,
    ),
    Slo(
        "HitmeshReportAvailability",
        "report_errors",
        0.999,
        f'sum(rate(hitmesh_rpc_server_call_duration_seconds_count{{{_REPORTS}, rpc_response_status_code=~"{_FAULTS}"}}'
        "[WINDOW]))",
        f"sum(rate(hitmesh_rpc_server_call_duration_seconds_count{{{_REPORTS}}}[WINDOW]))",
        "99.9 % of reports do not fail because of the mesh",
        _PAGE_REPORTS,
    ),
    Slo(
        "HitmeshReportLatency",
        "report_slow",
        0.99,
        *_slower("hitmesh_rpc_server_call_duration_seconds", "2.5", _RUN_REPORT),
        "99 % of reports, without exports, take at most 2.5 s",
        _PAGE_REPORTS,
    ),
)
"""The objectives hold over 30 days."""


@dataclass(frozen=True, slots=True)
class Burn:
    """A rate at which the errors that an objective allows are used up; both windows must exceed the rate."""

    severity: Severity
    factor: float
    long: str
    short: str
    pending: str

    @property
    def hours(self) -> int:
        """Length of the long window in hours."""
        return int(self.long[:-1]) * {"h": 1, "d": 24}[self.long[-1]]


BURNS: Final = (
    Burn(Severity.PAGE, 14.4, "1h", "5m", "2m"),
    Burn(Severity.PAGE, 6.0, "6h", "30m", "15m"),
    Burn(Severity.TICKET, 1.0, "3d", "6h", "1h"),
)
WINDOWS: Final = ("5m", "30m", "1h", "6h", "3d")


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert that is no objective. `pending` is the time for which the expression must hold."""

    name: str
    expression: str
    pending: str
    severity: Severity
    meaning: str


def _store_errors(reason: str) -> str:
    counters = ("collector_append_failures", "processor_store_errors", "reporter_store_errors", "control_store_errors")
    return " or ".join(f'sum(increase(hitmesh_{name}_total{{reason="{reason}"}}[10m])) > 0' for name in counters)


ALERTS: Final = (
    Alert(
        "HitmeshLedgerUnbalanced",
        "max(hitmesh_processor_ledger_unbalanced_hits) != 0 or min(hitmesh_processor_ledger_unbalanced_hits) != 0",
        "5m",
        Severity.PAGE,
        "the ledger is out of balance: hits are lost or counted twice",
    ),
    Alert(
        "HitmeshLedgerNotChecked",
        "absent(hitmesh_processor_ledger_unbalanced_hits)",
        "15m",
        Severity.TICKET,
        "no process checks the ledger, so a loss would not be noticed",
    ),
    Alert(
        "HitmeshPartitionStalled",
        "max by (partition) (hitmesh_processor_lag_seconds) > 120 or absent(hitmesh_processor_lag_seconds)",
        "2m",
        Severity.PAGE,
        "the stream does not process a partition, or no partition at all",
    ),
    Alert(
        "HitmeshClockAhead",
        "min by (partition) (hitmesh_processor_lag_seconds) < -900",
        "1m",
        Severity.TICKET,
        "the log time of a partition is more than 15 minutes in the future, because a clock was wrong",
    ),
    Alert(
        "HitmeshDiskFull",
        _store_errors("DISK_FULL"),
        "0s",
        Severity.PAGE,
        "a store or the local disk of a service is full",
    ),
    Alert("HitmeshStoreDamaged", _store_errors("STORE_CORRUPT"), "0s", Severity.PAGE, "a stored value is damaged"),
    Alert(
        "HitmeshTransactionsFail",
        'sum(rate(hitmesh_processor_transactions_total{result!="committed"}[10m])) > 0.01',
        "10m",
        Severity.TICKET,
        "transactions of the stream are fenced or in doubt again and again",
    ),
    Alert(
        "HitmeshProcessMissing",
        " or ".join(
            f'absent(hitmesh_build_info{{part="{part}"}})' for part in ("collector", "processor", "reporter", "control")
        ),
        "2m",
        Severity.PAGE,
        "no process of a service sends metrics",
    ),
    Alert(
        "HitmeshSettlersMissing",
        "(sum(hitmesh_processor_leased_buckets) or vector(0)) < 32",
        "15m",
        Severity.TICKET,
        "settlers lease fewer than all 32 site buckets, so some closed days are not settled",
    ),
    Alert(
        "HitmeshVersionsMixed",
        "count(count by (version) (hitmesh_build_info)) > 1",
        "2h",
        Severity.TICKET,
        "processes of different versions have been running for two hours",
    ),
    Alert(
        "HitmeshNoHealthyInstance",
        'max by (envoy_cluster_name) (envoy_cluster_membership_healthy{envoy_cluster_name=~"collector|reporter|control|'
        'processor"}) == 0',
        "1m",
        Severity.PAGE,
        "Envoy has no healthy instance of a service",
    ),
    Alert(
        "HitmeshKafkaUnderReplicated",
        "sum(kafka_server_replicamanager_underreplicatedpartitions) > 0",
        "10m",
        Severity.TICKET,
        "partitions of Kafka have fewer replicas in sync than they should have",
    ),
)

EXTERNAL: Final = {
    # Envoy, at /stats/prometheus of its listener `stats`.
    "envoy_cluster_membership_healthy": ("envoy_cluster_name",),
    "envoy_cluster_membership_total": ("envoy_cluster_name",),
    "envoy_cluster_upstream_rq_xx": ("envoy_cluster_name", "envoy_response_code_class"),
    "envoy_cluster_upstream_cx_active": ("envoy_cluster_name",),
    "envoy_http_downstream_rq_xx": ("envoy_http_conn_manager_prefix", "envoy_response_code_class"),
    "envoy_http_downstream_cx_active": ("envoy_http_conn_manager_prefix",),
    "envoy_server_memory_heap_size": (),
    # Kafka, with the names of the JMX exporter's rules that Strimzi ships.
    "kafka_server_replicamanager_underreplicatedpartitions": (),
    "kafka_server_brokertopicmetrics_bytesin_total": ("topic",),
    "kafka_consumergroup_lag": ("consumergroup", "topic", "partition"),
}
"""Metrics of other programs, with the labels that rules and dashboards may use."""
