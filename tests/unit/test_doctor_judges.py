"""Test the doctor's pure functions: facts in, findings out. Every kind of finding has facts that cause it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from hitmesh import __version__
from hitmesh.model.server_facts import StoreFile
from hitmesh.model.zones import DAY_MS
from hitmesh.tools.dev.instances import SERVICES
from hitmesh.tools.doctor.checks import CHECKS
from hitmesh.tools.doctor.facts import (
    CanaryFacts,
    CanaryStep,
    CertificateFacts,
    CertificatesFacts,
    ClockReading,
    ContractFile,
    CountedFacts,
    DamagedDay,
    DiskFacts,
    DoorFacts,
    EnvoyFacts,
    EnvoyHost,
    FreshnessFacts,
    HistoryFacts,
    LedgersFacts,
    ProcessFacts,
    ServiceHealth,
    SiteLedger,
)
from hitmesh.tools.doctor.findings import Severity
from hitmesh.tools.doctor.gather_mesh import envoy_facts
from hitmesh.tools.doctor.http_calls import clock_reading
from hitmesh.tools.doctor.judge_hits import STEPS, uncounted
from hitmesh.tools.doctor.limits import Limits
from hitmesh.tools.doctor.running import Needs

NOW = 1_800_000_000_000
SITE = "merchants/hitmesh-doctor/sites/canary"
HEALTHY = tuple(EnvoyHost(cluster, "10.0.0.1:50051") for cluster in SERVICES)
ENVOY = EnvoyFacts("127.0.0.1:9901", "LIVE", SERVICES, HEALTHY)
SICK = EnvoyHost("reporter", "10.0.0.2:50052", ("failed_active_health_check",))
CANARY = CanaryFacts(SITE, "a1", "doctor-a1", (CanaryStep("acknowledged", 0.1, "hits-1/0@7"),), visible_s=1.0)
FRESH = FreshnessFacts("merchants/demo/sites/example", "LIVE", 1.5, "")
VALID = CertificateFacts("/tls/collector.pem", "CN=collector", NOW - 60 * DAY_MS, NOW + 90 * DAY_MS)
WEEK = replace(VALID, not_before=NOW - 4 * DAY_MS, not_after=NOW + 2 * DAY_MS)
DISK = DiskFacts("/srv/hitmesh", 100 << 30, 50 << 30)
CLOCK = ClockReading("collector", NOW - 500, 1_500, NOW, NOW + 10)
LEDGER = SiteLedger("merchants/demo/sites/example", 0)
FILE = StoreFile("log.db", 2, 2)
DAMAGE = DamagedDay("merchants/demo/sites/example", "2026-11-01", "metrics hits 0 instead of 2", is_beyond_repair=False)
PROCESS = ProcessFacts("collector", "http://127.0.0.1:9464/metrics", "collector", __version__)

HEALTHY_FACTS: dict[str, Any] = {
    "door": DoorFacts("127.0.0.1:8080", 404),
    "services": [ServiceHealth("hitmesh.api.reporter.v1.ReporterService", "reporter", "SERVING")],
    "envoy": ENVOY,
    "processes": [PROCESS],
    "contract": [ContractFile("hitmesh/api/hit/v1/hit.proto", "same")],
    "canary": CANARY,
    "freshness": FRESH,
    "ledger": LedgersFacts((LEDGER,), 0, is_complete=True),
    "history": HistoryFacts(3, 10, (), is_complete=True),
    "clocks": [CLOCK],
    "certificates": CertificatesFacts((VALID,), NOW),
    "disks": [DISK],
    "files": [FILE],
}


def ledgers(ledger: SiteLedger) -> LedgersFacts:
    return LedgersFacts((ledger,), 0, is_complete=True)


def history(day: DamagedDay) -> HistoryFacts:
    return HistoryFacts(3, 10, (day,), is_complete=True)


def certificates(certificate: CertificateFacts) -> CertificatesFacts:
    return CertificatesFacts((certificate,), NOW)


def failed(step: str) -> CanaryFacts:
    return replace(CANARY, failed_step=step, error="no answer", visible_s=None)


BROKEN: list[tuple[str, Any, list[str]]] = [
    ("door", DoorFacts("127.0.0.1:8080", 0, "connection refused"), ["DOOR_CLOSED"]),
    ("door", DoorFacts("127.0.0.1:8080", 503), ["DOOR_FAILS"]),
    ("services", [ServiceHealth("a.Service", "reporter", "DEADLINE_EXCEEDED")], ["NOT_SERVING"]),
    ("services", [ServiceHealth("a.Service", "reporter", "NOT_SERVING")], ["NOT_SERVING"]),
    ("envoy", replace(ENVOY, state="DRAINING"), ["ENVOY_NOT_LIVE"]),
    ("envoy", replace(ENVOY, hosts=(*HEALTHY, SICK)), ["UNHEALTHY_INSTANCE"]),
    ("envoy", replace(ENVOY, hosts=(*HEALTHY[:2], SICK, HEALTHY[3])), ["NO_HEALTHY_INSTANCE"]),
    ("envoy", replace(ENVOY, hosts=HEALTHY[:3]), ["NO_HEALTHY_INSTANCE"]),
    ("processes", [replace(PROCESS, version="", error="timed out")], ["PROCESS_SILENT"]),
    ("processes", [replace(PROCESS, version="0.0.1")], ["OTHER_VERSION"]),
    ("processes", [PROCESS, replace(PROCESS, name="reporter", version="0.0.1")], ["MIXED_VERSIONS"]),
    ("contract", [ContractFile("hitmesh/api/hit/v1/hit.proto", "different")], ["OTHER_CONTRACT"]),
    *(
        ("canary", failed(step), [code])
        for step, code in zip(
            STEPS,
            ("CANARY_REFUSED", "CANARY_NOT_ACKNOWLEDGED", "CANARY_NOT_REPORTED", "CANARY_MISCOUNTED"),
            strict=True,
        )
    ),
    ("canary", replace(CANARY, visible_s=60.1), ["CANARY_NOT_REPORTED"]),
    ("canary", replace(CANARY, log_clock=ClockReading("the log", NOW + 9_000, 1, NOW, NOW + 5)), ["CLOCK_SKEW"]),
    ("freshness", replace(FRESH, state="DEGRADED", stalled=("hits-1/0",)), ["STALLED"]),
    ("freshness", replace(FRESH, state="DELAYED"), ["DELAYED"]),
    ("freshness", replace(FRESH, lag_s=60.1), ["DELAYED"]),
    ("freshness", replace(FRESH, ahead=("hits-1/0 has log time 2030-01-01T00:00:00Z: clock",)), ["LOG_TIME_AHEAD"]),
    ("ledger", ledgers(replace(LEDGER, imbalance=-1)), ["LEDGER_IMBALANCE"]),
    ("ledger", ledgers(replace(LEDGER, unread_hits=1, unread_s=300.1)), ["HITS_UNREAD"]),
    ("history", history(DAMAGE), ["DAY_DAMAGED"]),
    ("history", history(replace(DAMAGE, is_beyond_repair=True)), ["DAY_LOST"]),
    ("clocks", [replace(CLOCK, at=NOW + 2_011)], ["CLOCK_SKEW"]),
    ("clocks", [replace(CLOCK, at=NOW - 3_501)], ["CLOCK_SKEW"]),
    ("certificates", certificates(replace(VALID, not_after=NOW)), ["CERTIFICATE_ENDED"]),
    ("certificates", certificates(replace(VALID, not_before=NOW + 1)), ["CERTIFICATE_ENDED"]),
    ("certificates", certificates(replace(VALID, not_after=NOW + 14 * DAY_MS - 1)), ["CERTIFICATE_ENDS"]),
    ("certificates", certificates(replace(WEEK, not_after=NOW + 2 * DAY_MS - 3)), ["CERTIFICATE_ENDS"]),
    ("certificates", certificates(replace(VALID, not_after=NOW, is_of_door=True)), ["DOOR_CERTIFICATE_ENDED"]),
    ("certificates", certificates(replace(VALID, not_after=NOW + 1, is_of_door=True)), ["DOOR_CERTIFICATE_ENDS"]),
    ("certificates", certificates(CertificateFacts("/tls/x", error="no such file")), ["CERTIFICATE_UNREADABLE"]),
    ("disks", [replace(DISK, free_bytes=(2 << 30) - 1)], ["DISK_FULL"]),
    ("disks", [replace(DISK, free_bytes=(10 << 30) - 1)], ["DISK_LOW"]),
    ("files", [replace(FILE, error="file is not a database")], ["FILE_DAMAGED"]),
    ("files", [replace(FILE, error="database is locked", is_locked=True)], ["FILE_LOCKED"]),
    ("files", [replace(FILE, version=3)], ["FORMAT_NEWER"]),
    ("files", [replace(FILE, version=1)], ["FORMAT_OLDER"]),
]
"""A check, facts, and the codes of the expected findings."""
EDGES: list[tuple[str, Any]] = [
    ("door", DoorFacts("127.0.0.1:8080", 404)),
    ("canary", replace(CANARY, visible_s=60.0)),
    ("freshness", replace(FRESH, lag_s=60.0)),
    ("freshness", replace(FRESH, lag_s=None)),
    ("ledger", ledgers(replace(LEDGER, unread_hits=1, unread_s=300.0))),
    ("clocks", [replace(CLOCK, at=NOW + 2_010)]),
    ("clocks", [replace(CLOCK, at=NOW - 3_500)]),
    ("certificates", certificates(replace(VALID, not_before=NOW, not_after=NOW + 14 * DAY_MS))),
    ("certificates", certificates(WEEK)),
    ("disks", [replace(DISK, free_bytes=10 << 30)]),
]
"""Facts just inside a limit."""


def judge(check: str) -> Callable[[Any, Limits], Any]:
    return next(each.judge for each in CHECKS if each.name == check)


@pytest.mark.parametrize(("check", "facts", "codes"), BROKEN, ids=[f"{name}-{codes[0]}" for name, _, codes in BROKEN])
def test_broken_facts_are_exactly_the_expected_findings(check: str, facts: Any, codes: Sequence[str]) -> None:
    verdict = judge(check)(facts, Limits())
    assert [finding.kind.code for finding in verdict.findings] == codes
    known = next(each.kinds for each in CHECKS if each.name == check)
    for finding in verdict.findings:
        assert finding.kind in known
        assert finding.cause, "a finding has a cause"
        assert finding.evidence, "a finding has evidence"
        assert finding.subject


@pytest.mark.parametrize(("check", "facts"), [*HEALTHY_FACTS.items(), *EDGES])
def test_facts_within_all_limits_are_no_finding(check: str, facts: Any) -> None:
    verdict = judge(check)(facts, Limits())
    assert not verdict.findings
    assert verdict.summary


def test_every_kind_of_finding_has_facts_that_cause_it() -> None:
    produced = {(check, code) for check, _, codes in BROKEN for code in codes}
    documented = {
        (check.name, kind.code) for check in CHECKS if check.needs is not Needs.SERVERS for kind in check.kinds
    }
    assert documented == produced


@pytest.mark.parametrize(
    ("changed", "is_shown"),
    [
        ({}, True),
        ({"is_on_servers": False, "store_of_all": "embedded"}, True),
        ({"by_page": 0}, False),
        ({"by_page": 2}, False),
        ({"in_all": 7}, False),
        ({"store_of_all": "druid"}, False),
    ],
)
def test_an_earlier_canary_or_another_store_does_not_stand_in_for_this_one(
    changed: dict[str, Any], is_shown: bool
) -> None:
    found = replace(CountedFacts(1, "druid", 7, 8, "cassandra", is_on_servers=True), **changed)
    assert (uncounted(found) == "") is is_shown


def test_the_evidence_of_the_canary_names_hit_request_and_steps() -> None:
    (finding,) = judge("canary")(failed("reported"), Limits()).findings
    assert "hit a1, request doctor-a1" in finding.evidence
    assert "hits-1/0@7" in finding.evidence


def test_an_unhealthy_instance_beside_healthy_ones_is_only_a_warning() -> None:
    (finding,) = judge("envoy")(replace(ENVOY, hosts=(*HEALTHY, SICK)), Limits()).findings
    assert finding.kind.severity is Severity.WARNING
    assert "failed_active_health_check" in finding.evidence


def test_commands_in_a_cluster_name_the_kind_of_workload() -> None:
    for part, workload in (("processor", "statefulset/processor"), ("reporter", "deployment/reporter")):
        facts = [PROCESS, ProcessFacts(part, "http://127.0.0.1:9464/metrics", part, "0.0.1")]
        (finding,) = judge("processes")(facts, Limits()).findings
        assert finding.command({}, in_cluster=True) == f"kubectl rollout status {workload}"


def test_a_certificate_of_the_front_door_is_read_from_its_address() -> None:
    facts = certificates(replace(VALID, source="127.0.0.1:443", not_after=NOW, is_of_door=True))
    (finding,) = judge("certificates")(facts, Limits()).findings
    assert finding.command({}, in_cluster=False) == "openssl s_client -connect 127.0.0.1:443"


def test_clocks_whose_times_overlap_have_no_skew() -> None:
    reading = ClockReading("x", NOW, 1_500, NOW + 100, NOW + 200)
    assert reading.skew_ms == 0
    assert replace(reading, at=NOW + 201).skew_ms == 1
    assert replace(reading, at=NOW - 1_401).skew_ms == -1


def test_a_date_header_is_a_clock_and_another_text_is_none() -> None:
    headers = {"date": "Fri, 15 Jan 2027 08:00:00 GMT"}
    reading = clock_reading("Envoy", headers, NOW, NOW + 3)
    assert reading is not None
    assert (reading.at, reading.skew_ms) == (NOW, 0)
    assert clock_reading("Envoy", {"date": "yesterday"}, NOW, NOW) is None
    assert clock_reading("Envoy", {}, NOW, NOW) is None


def test_envoys_answers_become_hosts_with_reasons_and_clusters_of_no_service_are_left_out() -> None:
    def host(port: int, **health: Any) -> dict[str, Any]:
        return {"address": {"socket_address": {"address": "10.0.0.1", "port_value": port}}, "health_status": health}

    clusters = {
        "cluster_statuses": [
            {"name": "admin", "host_statuses": [host(1, eds_health_status="HEALTHY")]},
            {"name": "reporter", "host_statuses": [host(2, eds_health_status="HEALTHY")]},
            {"name": "control", "host_statuses": [host(3, eds_health_status="HEALTHY", active_hc_timeout=True)]},
            {"name": "collector"},
        ]
    }
    facts = envoy_facts("127.0.0.1:9901", {"state": "LIVE"}, clusters)
    assert facts.hosts == [
        EnvoyHost("reporter", "10.0.0.1:2", []),
        EnvoyHost("control", "10.0.0.1:3", ["active_hc_timeout"]),
    ]
    assert facts.state == "LIVE"
