"""The Grafana dashboards of a mesh, as values that `dev.make_observability` writes as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from dev.slos import SLOS

# Grafana chooses the range for the distance of the points on the screen.
_RANGE: Final = "[$__rate_interval]"
_COLUMNS, _WIDTH, _HEIGHT = 2, 12, 8
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_SCHEMA_VERSION: Final = 39


@dataclass(frozen=True, slots=True)
class Panel:
    """A chart.

    Attributes:
        title: a question that the chart answers.
        series: for each line, the expression and the legend.
        unit: Grafana's name of the unit.
        warn: values above this number are red; None if no value is wrong.
    """

    title: str
    series: Sequence[tuple[str, str]]
    unit: str = "short"
    warn: float | None = None


@dataclass(frozen=True, slots=True)
class Dashboard:
    """A dashboard; `uid` is part of its address."""

    uid: str
    title: str
    panels: Sequence[Panel] = field(default_factory=tuple)


def _rate(metric: str, by: str = "") -> str:
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{_RANGE}))"


def _quantiles(histogram: str, by: str = "") -> list[tuple[str, str]]:
    labels = f"le, {by}" if by else "le"
    legend = f" {{{{{by}}}}}" if by else ""
    return [
        (
            f"histogram_quantile({share}, sum by ({labels}) (rate({histogram}_bucket{_RANGE})))",
            f"p{share * 100:g}{legend}",
        )
        for share in (0.5, 0.99)
    ]


OVERVIEW: Final = Dashboard(
    "hitmesh-overview",
    "hitmesh: overview",
    (
        Panel(
            "How fast are allowed errors used up? (1 = as fast as the objective allows)",
            [(f"{slo.rule('1h')} / {1 - slo.goal:.3g}", slo.alert.removeprefix("Hitmesh")) for slo in SLOS],
            warn=14.4,
        ),
        Panel("Are hits accepted?", [(_rate("hitmesh_collector_hits_total", "outcome"), "{{outcome}}")], "cps"),
        Panel("How long does an acknowledgement take?", _quantiles("hitmesh_collector_ack_latency_seconds"), "s", 1),
        Panel(
            "How old is a partition's last processed log time?",
            [("max by (partition) (hitmesh_processor_lag_seconds)", "{{partition}}")],
            "s",
            120,
        ),
        Panel("How fresh are reports?", _quantiles("hitmesh_reporter_freshness_lag_seconds"), "s", 60),
        Panel("How long does a call take?", _quantiles("hitmesh_rpc_server_call_duration_seconds", "rpc_method"), "s"),
        Panel("How many hits does the ledger miss?", [("hitmesh_processor_ledger_unbalanced_hits", "hits")], warn=0),
        Panel("Which versions run?", [("count by (part, version) (hitmesh_build_info)", "{{part}} {{version}}")]),
    ),
)
COLLECTOR: Final = Dashboard(
    "hitmesh-collector",
    "hitmesh: collector",
    (
        Panel(
            "Why are hits refused?",
            [(f"topk(8, {_rate('hitmesh_collector_issues_total', 'outcome, reason')})", "{{outcome}} {{reason}}")],
            "cps",
        ),
        Panel(
            "Which quotas refuse hits?",
            [(_rate("hitmesh_collector_quota_refused_hits_total", "quota"), "{{quota}}")],
            "cps",
        ),
        Panel("How many streams are open?", [("sum(hitmesh_collector_open_streams)", "streams")]),
        Panel("How many bytes wait for the log?", [("sum(hitmesh_collector_inflight_bytes)", "bytes")], "bytes"),
        Panel("How large are micro-batches?", _quantiles("hitmesh_collector_batch_hits")),
        Panel("How many bytes does a micro-batch have?", _quantiles("hitmesh_collector_batch_bytes"), "bytes"),
        Panel("Are records appended?", [(_rate("hitmesh_collector_records_total", "topic"), "{{topic}}")], "cps"),
        Panel(
            "Why do appends fail?",
            [(_rate("hitmesh_collector_append_failures_total", "reason"), "{{reason}}")],
            "cps",
            0,
        ),
        Panel("How many collectors share quotas?", [("max(hitmesh_collector_live_collectors)", "collectors")]),
    ),
)
PROCESSOR: Final = Dashboard(
    "hitmesh-processor",
    "hitmesh: processor",
    (
        Panel("Which paths do hits take?", [(_rate("hitmesh_processor_path_hits_total", "path"), "{{path}}")], "cps"),
        Panel(
            "How many rows does a hit make?",
            [(f"{_rate('hitmesh_processor_rows_total')} / {_rate('hitmesh_processor_hits_total')}", "rows per hit")],
        ),
        Panel("How long does a stage take?", _quantiles("hitmesh_processor_step_duration_seconds", "stage"), "s"),
        Panel("How large are windows?", _quantiles("hitmesh_processor_batch_hits")),
        Panel("How long does a transaction take?", _quantiles("hitmesh_processor_transaction_duration_seconds"), "s"),
        Panel(
            "How do transactions end?", [(_rate("hitmesh_processor_transactions_total", "result"), "{{result}}")], "cps"
        ),
        Panel(
            "How old are partials and ledger?",
            [("max by (partition) (hitmesh_processor_watermark_age_seconds)", "{{partition}}")],
            "s",
        ),
        Panel(
            "How large is the state?",
            [("sum(hitmesh_processor_open_visits)", "open visits"), ("sum(hitmesh_processor_kept_hits)", "kept hits")],
        ),
        Panel("How long does a snapshot take?", _quantiles("hitmesh_processor_snapshot_duration_seconds"), "s"),
        Panel("How large is a snapshot?", _quantiles("hitmesh_processor_snapshot_bytes"), "bytes"),
        Panel("How long does a recovery take?", _quantiles("hitmesh_processor_replay_duration_seconds"), "s"),
        Panel(
            "How often is a state rebuilt?",
            [
                (_rate("hitmesh_processor_recoveries_total"), "recoveries"),
                (_rate("hitmesh_processor_replayed_hits_total"), "replayed hits"),
            ],
            "cps",
        ),
        Panel(
            "How do settlements end?",
            [(_rate("hitmesh_processor_settled_site_days_total", "result"), "{{result}}")],
            "cps",
        ),
        Panel(
            "How does settlement change the live numbers?",
            [(_rate("hitmesh_processor_drift_site_days_total", "kind"), "{{kind}}")],
            "cps",
        ),
        Panel(
            "How do reprocessings go on?",
            [(_rate("hitmesh_processor_reprocessed_site_days_total", "result"), "{{result}}")],
            "cps",
        ),
        Panel("How many site buckets are leased?", [("sum(hitmesh_processor_leased_buckets)", "buckets")]),
        Panel("Are records read?", [(_rate("hitmesh_processor_records_total", "topic"), "{{topic}}")], "cps"),
        Panel(
            "Which stores fail?", [(_rate("hitmesh_processor_store_errors_total", "reason"), "{{reason}}")], "cps", 0
        ),
    ),
)
SERVING: Final = Dashboard(
    "hitmesh-serving",
    "hitmesh: reports, Envoy, Kafka and processes",
    (
        Panel(
            "How do calls end?",
            [
                (
                    _rate("hitmesh_rpc_server_call_duration_seconds_count", "rpc_response_status_code"),
                    "{{rpc_response_status_code}}",
                )
            ],
            "cps",
        ),
        Panel("How many rows do reports read?", [(_rate("hitmesh_reporter_rows_total"), "rows")], "cps"),
        Panel(
            "Which stores fail in calls?",
            [
                (_rate("hitmesh_reporter_store_errors_total", "reason"), "reporter {{reason}}"),
                (_rate("hitmesh_control_store_errors_total", "reason"), "control {{reason}}"),
            ],
            "cps",
            0,
        ),
        Panel(
            "How does Envoy answer?",
            [
                (
                    _rate("envoy_http_downstream_rq_xx", "envoy_http_conn_manager_prefix, envoy_response_code_class"),
                    "{{envoy_http_conn_manager_prefix}} {{envoy_response_code_class}}xx",
                )
            ],
            "cps",
        ),
        Panel(
            "How do services answer Envoy?",
            [
                (
                    _rate("envoy_cluster_upstream_rq_xx", "envoy_cluster_name, envoy_response_code_class"),
                    "{{envoy_cluster_name}} {{envoy_response_code_class}}xx",
                )
            ],
            "cps",
        ),
        Panel(
            "How many instances are healthy?",
            [
                ("min by (envoy_cluster_name) (envoy_cluster_membership_healthy)", "{{envoy_cluster_name}}"),
                ("min by (envoy_cluster_name) (envoy_cluster_membership_total)", "all {{envoy_cluster_name}}"),
            ],
        ),
        Panel(
            "How many connections are open?",
            [
                (
                    "sum by (envoy_http_conn_manager_prefix) (envoy_http_downstream_cx_active)",
                    "to {{envoy_http_conn_manager_prefix}}",
                ),
                ("sum by (envoy_cluster_name) (envoy_cluster_upstream_cx_active)", "to {{envoy_cluster_name}}"),
            ],
        ),
        Panel("How large is Envoy's heap?", [("max(envoy_server_memory_heap_size)", "heap")], "bytes"),
        Panel(
            "How many bytes does Kafka take?",
            [(_rate("kafka_server_brokertopicmetrics_bytesin_total", "topic"), "{{topic}}")],
            "Bps",
        ),
        Panel(
            "How far are consumer groups behind?",
            [("sum by (consumergroup, topic) (kafka_consumergroup_lag)", "{{consumergroup}} {{topic}}")],
        ),
        Panel(
            "Which partitions lack replicas?",
            [("sum(kafka_server_replicamanager_underreplicatedpartitions)", "partitions")],
            warn=0,
        ),
        Panel(
            "How much CPU do processes use?", [(_rate("hitmesh_process_cpu_seconds_total", "instance"), "{{instance}}")]
        ),
        Panel(
            "How much memory do processes use?",
            [("max by (instance) (hitmesh_process_resident_bytes)", "{{instance}}")],
            "bytes",
        ),
    ),
)
DASHBOARDS: Final = (OVERVIEW, COLLECTOR, PROCESSOR, SERVING)


def as_json(dashboard: Dashboard) -> dict[str, Any]:
    """Return a dashboard in Grafana's JSON model."""
    source = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"}
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["hitmesh"],
        "schemaVersion": _SCHEMA_VERSION,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [source]},
        "panels": [_panel(number, panel) for number, panel in enumerate(dashboard.panels)],
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    row, column = divmod(number, _COLUMNS)
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.warn is not None:
        steps.append({"color": "red", "value": panel.warn})
    custom = {"thresholdsStyle": {"mode": "off" if panel.warn is None else "line"}}
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": _SOURCE,
        "gridPos": {"x": column * _WIDTH, "y": row * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {
            "defaults": {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}, "custom": custom},
            "overrides": [],
        },
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": _SOURCE, "expr": expression, "legendFormat": legend}
            for index, (expression, legend) in enumerate(panel.series)
        ],
    }
