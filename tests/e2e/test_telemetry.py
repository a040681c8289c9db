"""Test a running mesh's telemetry. Every process serves its metrics, and the metrics match the sent hits."""

from __future__ import annotations

import json
import urllib.request

import pytest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.parser import text_string_to_metric_families

from hitmesh.runtime.telemetry.kinds import TOTAL, Counter
from hitmesh.runtime.telemetry.registry import REGISTRY
from tests.e2e.conftest import NewSite
from tests.support.mesh import Mesh
from tests.support.waiting import eventually

SERVICES = ("collector", "processor", "reporter", "control")
PAGE = "https://shop.example/p"


def urls(mesh: Mesh) -> dict[str, str]:
    """Return the address at which each process serves its metrics, according to the ready file."""
    found: dict[str, str] = json.loads(mesh.ready_file.read_text())["metrics"]
    return found


def scrape(url: str) -> dict[str, Family]:
    with urllib.request.urlopen(url, timeout=60) as answer:
        text = answer.read().decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(families: dict[str, Family], name: str, **labels: str) -> float:
    """Return the sum of the samples that have exactly this name and these labels."""
    family = families.get(name.removesuffix(TOTAL).removesuffix("_count"))
    samples = family.samples if family else []
    return sum(sample.value for sample in samples if sample.name == name and labels.items() <= sample.labels.items())


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", SERVICES)
def test_each_process_serves_only_what_the_registry_knows(mesh: Mesh, name: str) -> None:
    families = scrape(urls(mesh)[name])
    known = {metric.name.removesuffix(TOTAL): metric for metric in REGISTRY}
    assert set(families) <= set(known)
    counters = {known for known, metric in known.items() if isinstance(metric, Counter) and f"_{name}_" in metric.name}
    assert counters <= set(families), "counters are there before anything happened"
    assert {sample.labels["part"] for sample in families["hitmesh_build_info"].samples} == {name}
    assert value(families, "hitmesh_process_cpu_seconds_total") > 0
    assert value(families, "hitmesh_process_resident_bytes") > 10 << 20


@pytest.mark.timeout(60)
def test_envoy_serves_its_own_numbers(mesh: Mesh) -> None:
    assert set(urls(mesh)) == {*SERVICES, "envoy"}
    with urllib.request.urlopen(urls(mesh)["envoy"], timeout=60) as answer:
        assert b"envoy_server_uptime" in answer.read()


@pytest.mark.timeout(60)
def test_the_banner_names_the_address_of_every_service(mesh: Mesh) -> None:
    banner = eventually(lambda: text if "Try:" in (text := mesh.output.read_text()) else None, "the banner is printed")
    assert all(urls(mesh)[name] in banner for name in SERVICES)


@pytest.mark.timeout(120)
def test_hits_answers_and_calls_are_counted(mesh: Mesh, new_site: NewSite) -> None:
    site = new_site("telemetry")
    collector, reporter = urls(mesh)["collector"], urls(mesh)["reporter"]
    before = scrape(collector)
    short = site.replace("merchants/", "").replace("/sites/", "/")
    for path in ("a", "b", "c"):
        mesh.cli("send", "page", f"{PAGE}/{path}", "--site", short)
    after = scrape(collector)

    def risen(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    # The mesh is shared, so other tests may also send hits.
    assert risen("hitmesh_collector_hits_total", outcome="accepted") >= 3
    assert risen("hitmesh_collector_records_total", topic="hits") >= 3
    assert risen("hitmesh_collector_ack_latency_seconds_count") >= 3

    def is_fresh() -> bool:
        mesh.cli("query", "--site", short, "--metrics", "hits", "--last", "1d")
        return value(scrape(reporter), "hitmesh_reporter_freshness_lag_seconds_count") >= 1

    eventually(is_fresh, "every partition has a heartbeat, so that answers have a lag", 40)
    method = "hitmesh.api.reporter.v1.ExportService/ExportReport"
    answers = scrape(reporter)
    assert value(answers, "hitmesh_rpc_server_call_duration_seconds_count", rpc_method=method) >= 1
