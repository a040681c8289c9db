"""Test observability/: generated files, expressions, runbooks, the collector's configuration, and alerts."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
import yaml

from dev.dashboards import DASHBOARDS, as_json
from dev.make_observability import RULES, outdated, rules
from dev.promql import NotPromql, parsed
from dev.slos import ALERTS, EXTERNAL, RUNBOOKS, SLOS, WINDOWS
from hitmesh.runtime.telemetry.kinds import Histogram
from hitmesh.runtime.telemetry.registry import REGISTRY
from hitmesh.tools.cli.__main__ import root
from tests.support import promtool

ROOT = Path(__file__).parents[2]
PAGES = ROOT / RUNBOOKS
HEADINGS = ["Meaning", "Who is hurt", "Look at", "Cure"]
# Labels that Prometheus adds to every series.
ADDED = {"instance", "job", "le"}


def _known() -> dict[str, set[str]]:
    """Return every metric that an expression may use, with its labels."""
    known = {name: set(labels) for name, labels in EXTERNAL.items()}
    for metric in REGISTRY:
        suffixes = ("_bucket", "_sum", "_count") if isinstance(metric, Histogram) else ("",)
        known |= {f"{metric.name}{suffix}": set(metric.label_values()) for suffix in suffixes}
    return known | {slo.rule(window): set() for slo in SLOS for window in WINDOWS}


KNOWN = _known()


def _all_rules() -> list[dict[str, Any]]:
    return [rule for group in rules()["groups"] for rule in group["rules"]]


def _panels() -> Iterator[tuple[str, dict[str, Any]]]:
    for dashboard in DASHBOARDS:
        yield from ((dashboard.uid, panel) for panel in as_json(dashboard)["panels"])


def _expressions() -> list[str]:
    shown = [target["expr"] for _, panel in _panels() for target in panel["targets"]]
    return [*(rule["expr"] for rule in _all_rules()), *shown]


# ------------------------------------------------------------------------------------------------------- expressions


def test_generated_files_are_current() -> None:
    assert sorted(map(str, outdated())) == [], "run `make observability`"


@pytest.mark.parametrize("expression", _expressions())
def test_expression_parses_and_uses_only_known_metrics_and_labels(expression: str) -> None:
    found = parsed(expression)
    assert set(found.metrics) <= set(KNOWN)
    labels = set.union(set(), *(KNOWN[metric] for metric in found.metrics)) | ADDED
    assert found.grouped <= labels
    for metric, matched in found.metrics.items():
        assert matched <= KNOWN[metric] | ADDED, metric


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "sum(",
        "sum(a))",
        "a{b=}",
        "a{b}",
        'a{b="c"',
        "rate(a[5x])",
        "unknown_function(a)",
        "a +",
        "a b",
        "a[5m:1m]",
        "#",
    ],
)
def test_broken_expression_is_refused(expression: str) -> None:
    with pytest.raises(NotPromql):
        parsed(expression)


def test_every_metric_of_the_registry_is_on_a_dashboard() -> None:
    shown = {
        metric for _, panel in _panels() for target in panel["targets"] for metric in parsed(target["expr"]).metrics
    }
    on_dashboards = {re.sub(r"_(bucket|sum|count)$", "", metric) for metric in shown}
    assert {metric.name for metric in REGISTRY} - on_dashboards == set()


def test_dashboards_have_distinct_names_and_panels_that_do_not_overlap() -> None:
    assert len({dashboard.uid for dashboard in DASHBOARDS}) == len(DASHBOARDS)
    for dashboard in DASHBOARDS:
        panels = as_json(dashboard)["panels"]
        assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
        places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels]
        assert len(set(places)) == len(places)
        assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)
        legends = {label for panel in panels for target in panel["targets"] for label in _legend(target)}
        assert legends <= {label for labels in KNOWN.values() for label in labels} | ADDED


def _legend(target: dict[str, Any]) -> list[str]:
    labels = re.findall(r"{{(\w+)}}", target["legendFormat"])
    assert set(labels) <= parsed(target["expr"]).grouped, target
    return labels


# ------------------------------------------------------------------------------------------------ alerts and runbooks


def _alert_names() -> set[str]:
    return {slo.alert for slo in SLOS} | {alert.name for alert in ALERTS}


def test_every_alert_has_a_severity_a_sentence_and_a_runbook_and_no_runbook_is_left_over() -> None:
    alerting = [rule for rule in _all_rules() if "alert" in rule]
    assert {rule["alert"] for rule in alerting} == _alert_names() == {page.stem for page in PAGES.glob("*.md")}
    for rule in alerting:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["annotations"]["runbook_url"].endswith(f"/{RUNBOOKS}/{rule['alert']}.md")


@pytest.mark.parametrize("name", sorted(_alert_names()))
def test_runbook_has_its_parts_and_names_only_commands_events_and_pages_that_exist(name: str) -> None:
    page = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    assert re.findall(r"^# (.*)$", page, re.MULTILINE) == [name]
    assert re.findall(r"^## (.*)$", page, re.MULTILINE) == HEADINGS
    for command in re.findall(r"`hitmesh ((?:[a-z]+ ?)+)", page):
        _check_command(command.split())
    for link in re.findall(r"\]\(([^)]+)\)", page):
        assert (PAGES / link).exists(), link
    events = _listed_events()
    for word in re.findall(r"`([a-z]+(?:_[a-z]+)+)`", page):
        names = {metric.name for metric in REGISTRY}.union(*({metric, *labels} for metric, labels in KNOWN.items()))
        assert word in events | names, word


def _check_command(words: list[str]) -> None:
    """Check that the words name a command, or a command and values for it."""
    command: click.Command | None = root
    context = click.Context(root)
    for word in words:
        if not isinstance(command, click.Group):
            return
        command = command.get_command(context, word)
        assert command is not None, words


def _listed_events() -> set[str]:
    page = (ROOT / "docs" / "telemetry.md").read_text(encoding="utf-8")
    _, _, section = page.partition("<!-- events begin -->")
    return set(re.findall(r"`(\w+)`", section.partition("<!-- events end -->")[0]))


def test_readme_lists_every_objective() -> None:
    page = (PAGES.parent / "README.md").read_text(encoding="utf-8")
    assert all(f"| {slo.alert} | {slo.meaning} |" in page for slo in SLOS)


# ---------------------------------------------------------------------------------------------------- the collector


def test_every_pipeline_of_the_collector_uses_components_that_are_defined_and_all_are_used() -> None:
    config = yaml.safe_load((PAGES.parent / "otel-collector" / "config.yaml").read_text(encoding="utf-8"))
    pipelines = config["service"]["pipelines"]
    assert set(pipelines) == {"traces", "metrics", "logs"}
    for kind in ("receivers", "processors", "exporters"):
        assert {name for pipeline in pipelines.values() for name in pipeline[kind]} == set(config[kind])
    assert all(pipeline["processors"][0] == "memory_limiter" for pipeline in pipelines.values())
    assert set(config["service"]["extensions"]) == set(config["extensions"])


def test_collector_keeps_every_metric_of_others_that_rules_and_dashboards_use() -> None:
    config = yaml.safe_load((PAGES.parent / "otel-collector" / "config.yaml").read_text(encoding="utf-8"))
    jobs = config["receivers"]["prometheus"]["config"]["scrape_configs"]
    kept = [relabel["regex"] for job in jobs for relabel in job["metric_relabel_configs"]]
    assert all(any(re.fullmatch(regex, metric) for regex in kept) for metric in EXTERNAL)


# ------------------------------------------------------------------------------------------------------- with promtool


class Case(NamedTuple):
    """Series, and the alerts that are firing at a time, as (alert, labels)."""

    series: dict[str, str]
    at: str
    firing: list[tuple[str, dict[str, str]]]


PAGE_1H, PAGE_6H = {"severity": "page", "burn": "1h"}, {"severity": "page", "burn": "6h"}
TICKET_3D = {"severity": "ticket", "burn": "3d"}
ACKS = 'hitmesh_collector_hits_total{outcome="%s"}'
CALLS = (
    'hitmesh_rpc_server_call_duration_seconds_%s{rpc_method="hitmesh.api.reporter.v1.ReporterService/RunReport",'
    'rpc_response_status_code="%s"%s}'
)
ALL_RUN = {
    f'hitmesh_build_info{{part="{part}",version="1"}}': "1x600"
    for part in ("collector", "processor", "reporter", "control")
}
# Gauges whose absence is an alert. A case that names such a gauge replaces the value.
HEALTHY = {
    "hitmesh_processor_ledger_unbalanced_hits": "0x600",
    "hitmesh_processor_leased_buckets": "32x600",
    "hitmesh_processor_lag_seconds": "1x600",
}
ABSENT = "_x600"


def slow(histogram: str, bound: str, share_below: int) -> dict[str, str]:
    """Return a histogram of 100 values a minute, of which some are below a bound."""
    return {f"{histogram}_count": "0+100x600", f'{histogram}_bucket{{le="{bound}"}}': f"0+{share_below}x600"}


CASES = {
    "nothing fires while nothing fails": Case(
        {ACKS % "accepted": "0+1000x600", ACKS % "retry": "0x600", "hitmesh_processor_ledger_unbalanced_hits": "0x600"},
        "8h",
        [],
    ),
    "two percent of hits must be sent again": Case(
        {ACKS % "accepted": "0+980x600", ACKS % "retry": "0+20x600"},
        "8h",
        [("HitmeshAckAvailability", labels) for labels in (PAGE_1H, PAGE_6H, TICKET_3D)],
    ),
    "a merchant is over its quota": Case(
        {
            ACKS % "accepted": "0+500x600",
            ACKS % "retry": "0+500x600",
            'hitmesh_collector_quota_refused_hits_total{quota="site_hits"}': "0+500x600",
        },
        "8h",
        [],
    ),
    "all hits are over their quotas": Case(
        {
            ACKS % "retry": "0+500x600",
            'hitmesh_collector_quota_refused_hits_total{quota="key_hits"}': "0+500x600",
        },
        "8h",
        [],
    ),
    "hits fail while a merchant is over its quota": Case(
        {
            ACKS % "accepted": "0+980x600",
            ACKS % "retry": "0+5020x600",
            'hitmesh_collector_quota_refused_hits_total{quota="site_hits"}': "0+5000x600",
        },
        "8h",
        [("HitmeshAckAvailability", labels) for labels in (PAGE_1H, PAGE_6H, TICKET_3D)],
    ),
    "a short peak of retries pages nobody any more": Case(
        {ACKS % "accepted": "0+1000x600", ACKS % "retry": "0+500x10 5000x590"}, "8h", []
    ),
    "acknowledgements are slow": Case(
        slow("hitmesh_collector_ack_latency_seconds", "1.0", 80),
        "8h",
        [("HitmeshAckLatency", labels) for labels in (PAGE_1H, PAGE_6H, TICKET_3D)],
    ),
    "acknowledgements are slow, in values that came with OTLP": Case(
        slow("hitmesh_collector_ack_latency_seconds", "1", 92),
        "8h",
        [("HitmeshAckLatency", labels) for labels in (PAGE_6H, TICKET_3D)],
    ),
    "reports are old": Case(
        slow("hitmesh_reporter_freshness_lag_seconds", "60.0", 50),
        "8h",
        [("HitmeshFreshness", labels) for labels in (PAGE_1H, PAGE_6H, TICKET_3D)],
    ),
    "reports fail": Case(
        {CALLS % ("count", "OK", ""): "0+97x600", CALLS % ("count", "UNAVAILABLE", ""): "0+3x600"},
        "8h",
        [("HitmeshReportAvailability", labels) for labels in (PAGE_1H, PAGE_6H, TICKET_3D)],
    ),
    "questions that are refused burn nothing": Case(
        {CALLS % ("count", "OK", ""): "0+50x600", CALLS % ("count", "INVALID_ARGUMENT", ""): "0+50x600"}, "8h", []
    ),
    "reports are slow": Case(
        {CALLS % ("count", "OK", ""): "0+100x600", CALLS % ("bucket", "OK", ',le="2.5"'): "0+70x600"},
        "8h",
        [("HitmeshReportLatency", labels) for labels in (PAGE_1H, PAGE_6H, TICKET_3D)],
    ),
    "exports are slow": Case(
        {
            key.replace("ReporterService/RunReport", "ExportService/ExportReport"): values
            for key, values in {
                CALLS % ("count", "OK", ""): "0+100x600",
                CALLS % ("bucket", "OK", ',le="2.5"'): "0+70x600",
            }.items()
        },
        "8h",
        [],
    ),
    "a few reports are slow, and page nobody": Case(
        {CALLS % ("count", "OK", ""): "0+0.2x600", CALLS % ("bucket", "OK", ',le="2.5"'): "0+0.1x600"},
        "2h",
        [("HitmeshReportLatency", TICKET_3D)],
    ),
    "nobody checks the ledger": Case(
        {"hitmesh_processor_ledger_unbalanced_hits": ABSENT},
        "1h",
        [("HitmeshLedgerNotChecked", {"severity": "ticket"})],
    ),
    "no partition is processed": Case(
        {"hitmesh_processor_lag_seconds": ABSENT}, "10m", [("HitmeshPartitionStalled", {"severity": "page"})]
    ),
    "all settlers are missing": Case(
        {"hitmesh_processor_leased_buckets": ABSENT}, "1h", [("HitmeshSettlersMissing", {"severity": "ticket"})]
    ),
    "hits are missing in the ledger": Case(
        {"hitmesh_processor_ledger_unbalanced_hits": "0x10 -3x60"},
        "30m",
        [("HitmeshLedgerUnbalanced", {"severity": "page"})],
    ),
    "the ledger is out of balance for a moment": Case(
        {"hitmesh_processor_ledger_unbalanced_hits": "0x10 -3x3 0x60"}, "15m", []
    ),
    "a partition stands still": Case(
        {
            'hitmesh_processor_lag_seconds{partition="0"}': "1x600",
            'hitmesh_processor_lag_seconds{partition="1"}': "0+60x600",
        },
        "10m",
        [("HitmeshPartitionStalled", {"severity": "page", "partition": "1"})],
    ),
    "a clock is ahead": Case(
        {'hitmesh_processor_lag_seconds{partition="2"}': "-1000x600"},
        "10m",
        [("HitmeshClockAhead", {"severity": "ticket", "partition": "2"})],
    ),
    "a disk is full": Case(
        {'hitmesh_collector_append_failures_total{reason="DISK_FULL"}': "0x5 1+1x600"},
        "10m",
        [("HitmeshDiskFull", {"severity": "page"})],
    ),
    "a value is damaged": Case(
        {'hitmesh_reporter_store_errors_total{reason="STORE_CORRUPT"}': "0x5 1x600"},
        "10m",
        [("HitmeshStoreDamaged", {"severity": "page"})],
    ),
    "transactions are fenced": Case(
        {'hitmesh_processor_transactions_total{result="fenced"}': "0+2x600"},
        "1h",
        [("HitmeshTransactionsFail", {"severity": "ticket"})],
    ),
    "a settler is missing": Case(
        {
            'hitmesh_processor_leased_buckets{instance="a"}': "16x600",
            'hitmesh_processor_leased_buckets{instance="b"}': "15x600",
        },
        "1h",
        [("HitmeshSettlersMissing", {"severity": "ticket"})],
    ),
    "a change is not finished": Case(
        {'hitmesh_build_info{part="reporter",version="2"}': "1x600"},
        "4h",
        [("HitmeshVersionsMixed", {"severity": "ticket"})],
    ),
    "a service has no healthy instance": Case(
        {'envoy_cluster_membership_healthy{envoy_cluster_name="reporter"}': "2x5 0x600"},
        "20m",
        [("HitmeshNoHealthyInstance", {"severity": "page", "envoy_cluster_name": "reporter"})],
    ),
    "replicas are missing": Case(
        {"kafka_server_replicamanager_underreplicatedpartitions": "3x600"},
        "1h",
        [("HitmeshKafkaUnderReplicated", {"severity": "ticket"})],
    ),
}


def test_cases_let_every_alert_fire() -> None:
    assert {name for case in CASES.values() for name, _ in case.firing} == _alert_names() - {"HitmeshProcessMissing"}


def _test_file(directory: Path) -> Path:
    """Write a test file for promtool: for every case, all alerts and whether they fire."""
    annotations = {
        (rule["alert"], rule["labels"].get("burn")): rule["annotations"] for rule in _all_rules() if "alert" in rule
    }
    tests = []
    for name, case in CASES.items():
        named = {key.partition("{")[0] for key in case.series}
        healthy = {key: values for key, values in HEALTHY.items() if key not in named}
        series = {**ALL_RUN, **healthy, **case.series}
        expected = [
            {
                "eval_time": case.at,
                "alertname": alert,
                "exp_alerts": [
                    {"exp_labels": labels, "exp_annotations": annotations[alert, labels.get("burn")]}
                    for fired, labels in case.firing
                    if fired == alert
                ],
            }
            for alert in sorted(_alert_names())
        ]
        inputs = [{"series": key, "values": values} for key, values in series.items()]
        tests.append({"name": name, "interval": "1m", "input_series": inputs, "alert_rule_test": expected})
    without_control = [{"series": key, "values": values} for key, values in ALL_RUN.items() if "control" not in key]
    fires = {
        "exp_labels": {"severity": "page", "part": "control"},
        "exp_annotations": annotations["HitmeshProcessMissing", None],
    }
    missing = {"eval_time": "10m", "alertname": "HitmeshProcessMissing", "exp_alerts": [fires]}
    tests.append({"interval": "1m", "input_series": without_control, "alert_rule_test": [missing]})
    content = {"rule_files": [str(ROOT / RULES)], "evaluation_interval": "5m", "tests": tests}
    file = directory / "alerts.yaml"
    file.write_text(json.dumps(content), encoding="utf-8")  # JSON is YAML
    return file


def _check_with(tool: str, directory: Path) -> None:
    checked = promtool.run(tool, "check", "rules", str(ROOT / RULES))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    tested = promtool.run(tool, "test", "rules", str(_test_file(directory)))
    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.timeout(120)
def test_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    tool = promtool.found()
    if tool is None:
        pytest.skip(f"promtool is not here: install Debian's package prometheus, or set {promtool.VARIABLE}")
    _check_with(tool, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(1_200)
def test_alerts_fire_with_a_promtool_that_is_built_for_the_test(tmp_path: Path) -> None:
    if shutil.which("go") is None:
        pytest.skip("Go is not here, which builds promtool")
    _check_with(promtool.found() or promtool.built(tmp_path), tmp_path)
