"""Test the registry of metrics, the wire format, and the place where each metric is counted."""

from __future__ import annotations

import http.client
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from enum import StrEnum
from pathlib import Path
from typing import Any, get_type_hints
from wsgiref.simple_server import WSGIServer

import pytest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from hitmesh import __version__
from hitmesh.api.collector.v1 import collector_pb2
from hitmesh.model.errors import (
    CommitInDoubt,
    DiskFull,
    FatalError,
    HitmeshError,
    KeyNotLookedUp,
    RefusedError,
    RetryError,
)
from hitmesh.model.positions import Topic
from hitmesh.model.rows.rollup_rows import RowSource
from hitmesh.runtime.config import ServiceSettings
from hitmesh.runtime.lifecycle import watch_threads
from hitmesh.runtime.telemetry import Metrics, unmeasured
from hitmesh.runtime.telemetry import registry as known
from hitmesh.runtime.telemetry.exposition import InTurn, Telemetry, open_telemetry
from hitmesh.runtime.telemetry.kinds import TOTAL, Counter, Gauge, Histogram, Metric, ReadCounter
from hitmesh.runtime.telemetry.labels import (
    ISSUE_REASONS,
    MAX_PARTITIONS,
    STORE_REASONS,
    HitOutcome,
    HitPath,
    IssueOutcome,
    LogTopic,
    Part,
    RowKind,
    by_issue,
    by_store_reason,
)
from hitmesh.runtime.telemetry.page import with_table
from hitmesh.runtime.telemetry.registry import REGISTRY
from hitmesh.tools.dev import tcp_ports
from tests.support.measuring import Measured
from tests.support.waiting import eventually

PAGE = Path(__file__).parents[2] / "docs" / "telemetry.md"


@pytest.fixture
def measured() -> Measured:
    return Measured()


@pytest.fixture
def served() -> Iterator[Telemetry]:
    telemetry = open_telemetry(Part.PROCESSOR, f"{tcp_ports.HOST}:{tcp_ports.any_free(1)[0]}")
    yield telemetry
    telemetry.close()


def ask(address: str, path: str = "/metrics", method: str = "GET", body: bytes | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def scrape(address: str) -> dict[str, Family]:
    status, text = ask(address)
    assert status == 200
    return {family.name: family for family in text_string_to_metric_families(text)}


def some_arguments(metric: Metric[Any]) -> dict[str, Any]:
    """For each label of a metric, return a value of the type that the metric's function declares."""
    hints = get_type_hints(metric.labels)
    return {name: _one_of(hint) for name, hint in hints.items() if name != "return"}


def _one_of(hint: Any) -> Any:
    return next(iter(hint)) if issubclass(hint, StrEnum) else hint(1)


# ------------------------------------------------------------------------------------------------------- the registry


def test_names_are_part_thing_and_unit_and_only_counters_are_totals() -> None:
    names = [metric.name for metric in REGISTRY]
    assert len(set(names)) == len(names)
    for metric in REGISTRY:
        assert re.fullmatch(
            r"hitmesh_(collector|processor|reporter|control|rpc|process|build)(_[a-z0-9]+)+", metric.name
        )
        stem = metric.name.removesuffix(TOTAL)
        assert stem.endswith(f"_{metric.unit}"), metric.name
        assert (stem != metric.name) == (metric.kind == "counter"), metric.name


def test_every_metric_has_a_meaning_of_one_line() -> None:
    for metric in REGISTRY:
        assert re.fullmatch(r"[A-Z][^\n|]{10,110}", metric.meaning), metric.name
        assert not metric.meaning.endswith(".")


def test_no_label_holds_a_site_a_visitor_or_free_text() -> None:
    bounded = {"partition", "rpc_method", "version", "python"}
    for metric in REGISTRY:
        for name, values in metric.label_values().items():
            assert name in bounded if isinstance(values, str) else len(values) <= 24, (metric.name, name)


def test_bounds_of_histograms_rise() -> None:
    for metric in REGISTRY:
        if isinstance(metric, Histogram):
            assert list(metric.bounds) == sorted(set(metric.bounds))
            assert 5 <= len(metric.bounds) <= 16


def test_labels_are_those_of_the_contract_and_the_ports() -> None:
    contract = {name.removeprefix("REASON_") for name in collector_pb2.Reason.keys()} - {"UNSPECIFIED"}  # noqa: SIM118 - an enum wrapper
    assert set(ISSUE_REASONS) == contract - {"ID_COLLISION"} | {"OTHER"}
    outcomes = {name.removeprefix("OUTCOME_") for name in collector_pb2.Outcome.keys()}  # noqa: SIM118 - an enum wrapper
    assert {outcome.value for outcome in IssueOutcome} == outcomes - {"UNSPECIFIED", "ACCEPTED"} | {"OTHER"}
    assert [topic.value for topic in LogTopic] == [topic.value for topic in Topic]
    assert [kind.value for kind in RowKind] == [source.value for source in RowSource]


def test_a_reason_that_is_not_known_is_other() -> None:
    assert by_issue(outcome=IssueOutcome.RETRY, reason="DECODE")["reason"] == "DECODE"
    assert by_issue(outcome=IssueOutcome.RETRY, reason="a text that somebody sent")["reason"] == "OTHER"
    assert by_store_reason(reason=CommitInDoubt("?").reason) == {"reason": "COMMIT_IN_DOUBT"}
    assert by_store_reason(reason="EIO") == {"reason": "OTHER"}


@pytest.mark.parametrize("kind", [RetryError, FatalError])
def test_every_reason_for_which_a_store_fails_is_known(kind: type[HitmeshError]) -> None:
    def below(error: type[HitmeshError]) -> set[str]:
        mine = {error.reason} if error.__module__.startswith(("hitmesh.model.errors", "hitmesh.adapters")) else set()
        return mine.union(*map(below, error.__subclasses__()))

    assert issubclass(DiskFull, RetryError)
    of_others = {"INTERNAL", KeyNotLookedUp.reason}  # reasons of errors that no store raises
    assert below(kind) - of_others <= set(STORE_REASONS)


def test_partitions_beyond_the_bound_share_one_number() -> None:
    labels = known.PROCESSOR_LAG_SECONDS.labels
    assert labels(partition=7) == {"partition": "7"}
    assert labels(partition=MAX_PARTITIONS) == labels(partition=MAX_PARTITIONS - 1) == labels(partition=10**9)


def test_the_page_has_the_table_of_the_registry() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_table(page), "run: python -m hitmesh.runtime.telemetry.page docs/telemetry.md"


# ----------------------------------------------------------------------------------------------------------- counting


def test_counters_add_up_by_label(measured: Measured) -> None:
    measured.metrics.add(known.PROCESSOR_PATH_HITS, 500, path=HitPath.FAST)
    measured.metrics.add(known.PROCESSOR_PATH_HITS, 7, path=HitPath.SLOW)
    measured.metrics.add(known.PROCESSOR_PATH_HITS, 20, path=HitPath.FAST)
    assert measured.values(known.PROCESSOR_PATH_HITS) == {("fast",): 520, ("slow",): 7}


def test_a_gauge_that_is_set_stays_and_one_that_is_read_follows(measured: Measured) -> None:
    ages = {3: 2.5, 4: 0.5}
    measured.metrics.set(known.PROCESSOR_OPEN_VISITS, 12)
    measured.metrics.set(known.PROCESSOR_OPEN_VISITS, 11)
    measured.metrics.observe(
        known.PROCESSOR_LAG_SECONDS,
        lambda: [known.PROCESSOR_LAG_SECONDS.of(age_s, partition=number) for number, age_s in ages.items()],
    )
    assert measured.value(known.PROCESSOR_OPEN_VISITS) == 11
    assert measured.values(known.PROCESSOR_LAG_SECONDS) == {("3",): 2.5, ("4",): 0.5}
    del ages[3]
    assert measured.values(known.PROCESSOR_LAG_SECONDS) == {("4",): 0.5}
    assert measured.value(known.PROCESSOR_OPEN_VISITS) == 11


def test_counters_of_a_part_start_at_zero(measured: Measured) -> None:
    measured.metrics.start_counters("hitmesh_collector_")
    assert measured.value(known.COLLECTOR_HITS, outcome="accepted") == 0
    assert measured.value(known.COLLECTOR_ISSUES, outcome="RETRY", reason="LOG_FULL") == 0
    assert measured.value(known.PROCESSOR_HITS) is None


def test_unmeasured_metrics_discard_every_value() -> None:
    metrics = unmeasured()
    metrics.add(known.COLLECTOR_HITS, 1, outcome=HitOutcome.ACCEPTED)
    metrics.set(known.PROCESSOR_KEPT_HITS, 1)
    metrics.record(known.PROCESSOR_SNAPSHOT_SECONDS, 1.5)


# --------------------------------------------------------------------------------------------------------- on the wire


def test_every_metric_is_exported_under_its_own_name_kind_and_labels(served: Telemetry) -> None:
    _count_everything(served.metrics)
    families = scrape(served.address)
    # The parser removes the suffix `_total` from the name of a counter.
    assert set(families) == {metric.name.removesuffix(TOTAL) for metric in REGISTRY}
    for metric in REGISTRY:
        family = families[metric.name.removesuffix(TOTAL)]
        assert family.type == metric.kind
        assert family.documentation == metric.meaning
        suffixes = ("_bucket", "_sum", "_count") if isinstance(metric, Histogram) else ("",)
        assert {sample.name for sample in family.samples} == {f"{metric.name}{suffix}" for suffix in suffixes}
        allowed = {*metric.label_values(), "le"} if isinstance(metric, Histogram) else set(metric.label_values())
        assert {label for sample in family.samples for label in sample.labels} == allowed


def _count_everything(metrics: Metrics) -> None:
    for metric in REGISTRY:
        arguments = some_arguments(metric)
        if isinstance(metric, Counter):
            metrics.add(metric, 1, **arguments)
        elif isinstance(metric, Histogram):
            metrics.record(metric, 1.0, **arguments)
        elif isinstance(metric, Gauge):
            metrics.set(metric, 1.0, **arguments)


def test_buckets_are_the_bounds_of_the_registry(served: Telemetry) -> None:
    served.metrics.record(known.PROCESSOR_BATCH_HITS, 50)
    served.metrics.record(known.PROCESSOR_BATCH_HITS, 51)
    samples = scrape(served.address)["hitmesh_processor_batch_hits"].samples
    counts = {sample.labels["le"]: sample.value for sample in samples if "le" in sample.labels}
    assert [float(bound) for bound in counts] == [*known.PROCESSOR_BATCH_HITS.bounds, float("inf")]
    assert (counts["10.0"], counts["50.0"], counts["100.0"], counts["+Inf"]) == (0, 1, 2, 2)


def test_a_process_exports_its_cpu_time_memory_and_build(served: Telemetry) -> None:
    families = scrape(served.address)
    (cpu,) = families["hitmesh_process_cpu_seconds"].samples
    (resident,) = families["hitmesh_process_resident_bytes"].samples
    (build,) = families["hitmesh_build_info"].samples
    assert 0 < cpu.value <= time.process_time()
    assert 10 << 20 < resident.value < 10 << 30
    assert build.labels["part"] == "processor"
    assert build.labels["version"] == __version__
    assert isinstance(known.PROCESS_CPU_SECONDS, ReadCounter)


def test_only_get_is_answered_with_metrics(served: Telemetry) -> None:
    assert ask(served.address, "/metrics?x=1")[0] == 200
    assert ask(served.address, method="POST", body=b"x" * 100)[0] == 405
    assert ask(served.address)[0] == 200


def test_requests_at_the_same_time_each_get_every_number(served: Telemetry) -> None:
    _count_everything(served.metrics)
    families = len(REGISTRY)
    with ThreadPoolExecutor(8) as clients:
        texts = list(clients.map(lambda _: ask(served.address)[1], range(40)))
    assert [text.count("# TYPE ") for text in texts] == [families] * 40


class FirstOfTwo(Collector):
    """A collector of metrics whose first request starts a second request.

    The collector records whether the second request has to wait.
    """

    def __init__(self, second: threading.Thread) -> None:
        self.second, self.waits = second, False

    def collect(self) -> list[Family]:
        if self.second.ident is None:
            self.second.start()
            self.second.join(0.2)
            self.waits = self.second.is_alive()
        return []


def test_numbers_are_collected_for_a_single_request_at_a_time() -> None:
    registry = InTurn()
    collector = FirstOfTwo(threading.Thread(target=registry.collect))
    registry.register(collector)
    registry.collect()
    assert collector.waits
    collector.second.join()


def test_a_listener_that_dies_is_noted_as_the_cause_to_end(served: Telemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: WSGIServer) -> None:
        raise OSError("the listener is broken")

    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    causes = watch_threads()
    monkeypatch.setattr(WSGIServer, "service_actions", fails)
    eventually(lambda: list(causes) == ["metrics ended: OSError"], "the thread has ended")


def test_a_client_that_disconnects_does_not_disturb_other_clients(served: Telemetry) -> None:
    host, _, port = served.address.partition(":")
    with socket.create_connection((host, int(port))) as gone:
        gone.sendall(b"GET /met")
    assert ask(served.address)[0] == 200


def test_a_port_that_is_taken_is_a_wrong_setting(served: Telemetry) -> None:
    with pytest.raises(RefusedError, match="metrics cannot be served on") as refused:
        open_telemetry(Part.PROCESSOR, served.address)
    assert (refused.value.reason, refused.value.field) == ("INVALID_CONFIG", "metrics_listen")


def test_the_port_is_free_again_after_the_end() -> None:
    telemetry = open_telemetry(Part.COLLECTOR, f"{tcp_ports.HOST}:{tcp_ports.any_free(1)[0]}")
    telemetry.close()
    again = open_telemetry(Part.COLLECTOR, telemetry.address)
    assert ask(again.address)[0] == 200
    again.close()


def test_without_an_address_nothing_is_served() -> None:
    telemetry = open_telemetry(Part.REPORTER, "")
    assert telemetry.address == ""
    telemetry.close()


@pytest.mark.parametrize("listen", ["9464", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:http", "a b:1"])
def test_an_address_of_metrics_has_a_host_and_a_port(listen: str) -> None:
    with pytest.raises(ValueError, match="metrics_listen"):
        ServiceSettings.model_validate({"store": "memory:", "metrics_listen": listen})


def test_every_metric_is_in_the_registry_once() -> None:
    defined = [value for value in vars(known).values() if isinstance(value, Metric)]
    assert list(known.REGISTRY) == defined
