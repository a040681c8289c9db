"""Test `hitmesh doctor` on a real mesh: each part is broken, and the doctor names the part and the cure."""

from __future__ import annotations

import json
import os
import shlex
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hitmesh.model.sites import SiteDay
from hitmesh.model.zones import DAY_MS
from hitmesh.runtime.clock import SystemClock
from hitmesh.tools.cli.doctor_output import command_of
from hitmesh.tools.dev.envoy import Address
from hitmesh.tools.dev.health import unhealthy_clusters
from hitmesh.tools.doctor.checks import CHECKS
from hitmesh.tools.doctor.findings import Diagnosis
from hitmesh.tools.doctor.limits import Limits
from hitmesh.tools.doctor.place import Options, Place, find_place
from hitmesh.tools.doctor.running import diagnose
from tests.e2e.conftest import running_mesh, site_maker
from tests.support import damaged_files, processes
from tests.support.mesh import Finished, Mesh, one_json_line, run_command
from tests.support.patience import patient
from tests.support.waiting import eventually

SERVICES = frozenset({"collector", "processor", "reporter", "control"})
PROBLEMS_FOUND = 7
LOG = '192.0.2.1 - - [17/May/2015:10:05:03 +0000] "GET /hello HTTP/1.1" 200 512 "-" "Firefox"\n'
DAY = datetime(2015, 5, 17, tzinfo=UTC)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """Return a mesh whose processes are not killed while a test suspends them."""
    options = ("--no-demo-data", "--hang-after", "600", "--closed-reads")
    yield from running_mesh(Mesh(tmp_path_factory.mktemp("examined-mesh") / "home", options))


def doctor(mesh: Mesh, *arguments: str, **variables: str) -> tuple[int, dict[str, Any]]:
    """Return the exit code and the JSON output."""
    done = run_command(["doctor", *arguments, "-o", "json", "--home", str(mesh.home)], 120.0, **variables)
    assert done.code in (0, PROBLEMS_FOUND), done.err
    return done.code, one_json_line(done.out)


def findings(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the findings by check and code."""
    return {f"{check['check']}:{each['code']}": each for check in answer["checks"] for each in check["findings"]}


def statuses(answer: dict[str, Any]) -> dict[str, str]:
    return {check["check"]: check["status"] for check in answer["checks"]}


def place(
    mesh: Mesh,
    variables: Mapping[str, str] = MappingProxyType({}),
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> Place:
    return find_place(Options(home=mesh.home, limits=limits), mesh.home, variables)


def diagnosed(mesh: Mesh, *names: str, limits: Limits = Limits(), **values: Any) -> Diagnosis:  # noqa: B008 - frozen
    """Run checks in this process, with other thresholds, or with other values of the place."""
    where = replace(place(mesh, limits=limits), **values)
    return diagnose(where, [check for check in CHECKS if check.name in names])


def codes(found: Diagnosis) -> list[str]:
    return [finding.kind.code for finding in found.findings]


@contextmanager
def suspended(mesh: Mesh, program: str) -> Iterator[None]:
    """Suspend a process of the mesh; afterwards, wait until Envoy uses all services again."""
    pid = next(pid for pid in mesh.children() if program in processes.name_of(pid))
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
        host, _, port = mesh.stats_address().rpartition(":")
        stats = Address(host, int(port))
        eventually(lambda: not unhealthy_clusters(stats, SERVICES), f"{program} is healthy again", 30)


@pytest.mark.timeout(120)
def test_a_healthy_mesh_has_no_finding_and_the_canary_changes_no_merchants_numbers(mesh: Mesh) -> None:
    site = site_maker(mesh)("watched")
    before = ledger(mesh, site)
    code, answer = doctor(mesh)
    assert (code, answer["ok"], findings(answer)) == (0, True, {})
    assert [check["check"] for check in answer["checks"]] == [check.name for check in CHECKS]
    skipped = {name for name, status in statuses(answer).items() if status == "skipped"}
    assert skipped == {"certificates", "topics", "tables", "sources"}, "the mesh has neither TLS nor servers"
    assert ledger(mesh, site) == before
    assert mesh.cli("keys", "list", "--merchant", "hitmesh-doctor", "-o", "json") == "[]\n", "the key is deleted"
    assert "hitmesh-doctor" not in mesh.cli("sites", "list", "-o", "json"), "merchants do not see the canary"
    assert codes(diagnosed(mesh, "canary")) == [], "the next run uses the same merchant and site"


def ledger(mesh: Mesh, site: str) -> dict[str, Any]:
    """Return a site's ledger without the version, which changes with time."""
    answer = one_json_line(mesh.cli("ledger", "--site", site, "-o", "json"))
    return {name: value for name, value in answer.items() if name != "data_version"}


@pytest.mark.timeout(60)
def test_an_operators_key_is_enough_although_operators_may_read_no_merchants_reports(mesh: Mesh) -> None:
    found = diagnosed(mesh, "canary", "freshness", "history", "ledger", server_key=None)
    assert codes(found) == []
    assert [result.status for result in found.results] == ["ok", "ok", "ok", "ok"]


@pytest.mark.timeout(60)
def test_without_an_operators_key_the_checks_that_need_it_say_so(mesh: Mesh) -> None:
    found = diagnosed(mesh, "canary", "history", operator_key=None)
    assert [result.status for result in found.results] == ["skipped", "skipped"]
    assert all("HITMESH_OPERATOR_KEY_FILE" in result.summary for result in found.results)


SUSPENDED: list[Any] = [
    ("-m reporter", {"services:NOT_SERVING", "processes:PROCESS_SILENT"}, "reporter"),
    ("envoy", {"door:DOOR_CLOSED", "envoy:NO_ANSWER"}, "door"),
    pytest.param("-m collector", {"services:NOT_SERVING", "processes:PROCESS_SILENT"}, "", marks=pytest.mark.long),
    pytest.param("-m control", {"services:NOT_SERVING", "processes:PROCESS_SILENT"}, "", marks=pytest.mark.long),
    pytest.param("-m processor", {"services:NOT_SERVING", "processes:PROCESS_SILENT"}, "", marks=pytest.mark.long),
]


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("program", "expected", "named"), SUSPENDED)
def test_a_suspended_process_is_named_in_time(mesh: Mesh, program: str, expected: set[str], named: str) -> None:
    with suspended(mesh, program):
        code, answer = doctor(mesh, "--timeout", "4")
    found = findings(answer)
    assert code == PROBLEMS_FOUND
    assert expected <= found.keys()
    assert answer["duration_s"] < patient(4 + 4 + 2), "the door, then all other checks side by side"
    assert any(named in finding["subject"] + finding["cause"] for finding in found.values())
    assert all(
        finding["command"] == f"hitmesh dev --home {mesh.home}" for key, finding in found.items() if key in expected
    )


@pytest.mark.timeout(120)
def test_hits_that_the_processor_does_not_read_are_found(mesh: Mesh) -> None:
    sent = mesh.cli("send", "page", "/first", "--site", "demo/unread", "-o", "json")
    assert json.loads(sent)["outcome"] == "accepted"
    with suspended(mesh, "-m processor"):
        mesh.cli("send", "page", "/second", "--site", "demo/unread")
        found = diagnosed(mesh, "ledger", limits=Limits(unread_s=0.0, transit_s=0.0))
        assert "HITS_UNREAD" in codes(found)
        assert "demo/unread" in {finding.values["site"] for finding in found.findings}
        (late,) = diagnosed(mesh, "canary", limits=Limits(canary_s=0.1)).findings
    assert late.kind.code == "CANARY_NOT_REPORTED"
    assert "acknowledged after" in late.evidence, "the evidence shows how far the canary came"


@pytest.mark.timeout(120)
def test_a_trace_names_the_processor_that_does_not_answer(mesh: Mesh) -> None:
    sent = one_json_line(mesh.cli("send", "page", "/traced", "--site", "demo/traced", "-o", "json"))
    with suspended(mesh, "-m processor"):
        began_s = time.monotonic()
        done = mesh.run("trace", sent["hit_id"], "--site", "demo/traced")
        took_s = time.monotonic() - began_s
    assert done.code == 64 + 14, "UNAVAILABLE"
    assert "the processor behind Envoy" in done.err
    assert took_s < patient(20)
    arguments = ("trace", sent["hit_id"], "--site", "demo/traced", "-o", "json")
    eventually(lambda: mesh.run(*arguments).code == 0, "the hit is stored", 30)
    shown = one_json_line(mesh.cli(*arguments))
    assert shown["found_by"] == "hit"
    assert {copy["batch_id"] for copy in shown["copies"]} == {sent["hit_id"]}, "`hitmesh send` names the batch so"


@pytest.mark.timeout(120)
def test_a_ledger_that_does_not_balance_is_found(mesh: Mesh) -> None:
    mesh.cli("send", "page", "/lost", "--site", "demo/lost")
    raw = mesh.home / "data" / "raw.db"
    chosen = "site = 'merchants/demo/sites/lost' AND class = 'counted'"

    def is_counted() -> bool:
        return bool(json.loads(mesh.cli("ledger", "--site", "demo/lost", "-o", "json"))["days"])

    eventually(is_counted, "the hit is in the ledger", 30)
    damaged_files.run(raw, f"UPDATE ledger SET hits = hits + 1 WHERE {chosen}")
    found = diagnosed(mesh, "ledger", limits=Limits(transit_s=0.0))
    damaged_files.run(raw, f"UPDATE ledger SET hits = hits - 1 WHERE {chosen}")
    assert codes(found) == ["LEDGER_IMBALANCE"]
    assert found.findings[0].values["site"] == "demo/lost"


@pytest.mark.timeout(180)
def test_removed_rows_of_a_settled_day_are_found_and_the_printed_command_begins_the_cure(
    mesh: Mesh, tmp_path: Path
) -> None:
    log = tmp_path / "access.log"
    log.write_text(LOG)
    mesh.cli("import", "access-log", str(log), "--site", "demo/damaged")
    site_day = SiteDay("merchants/demo/sites/damaged", int(DAY.timestamp() * 1000) // DAY_MS)
    damaged_files.LOSSES["rows"](mesh.home / "data", site_day)
    assert codes(diagnosed(mesh, "history")) == [], "the check of every run reads recent days"
    found = diagnosed(mesh, "history", limits=Limits(history_days=10_000))
    assert codes(found) == ["DAY_DAMAGED"]
    (finding,) = found.findings
    assert finding.subject == "demo/damaged 2015-05-17"
    assert "metrics hits" in finding.evidence
    program, *arguments = shlex.split(command_of(finding, place(mesh)))
    assert program == "hitmesh"
    plan = one_json_line(run_command([*arguments, "-o", "json"]).out)
    assert plan["kind"].lower() == "repair"


@pytest.mark.timeout(60)
def test_a_full_disk_is_found_by_its_threshold(mesh: Mesh) -> None:
    (finding,) = diagnosed(mesh, "disks", limits=Limits(free_bytes=1 << 60)).findings
    assert (finding.kind.code, finding.values["path"]) == ("DISK_FULL", str(mesh.home))
    assert codes(diagnosed(mesh, "disks", limits=Limits(free_fraction=1.0))) == ["DISK_LOW"]


@pytest.mark.timeout(60)
def test_a_clock_that_differs_is_found(mesh: Mesh) -> None:
    class Slow(SystemClock):
        def now(self) -> int:
            return super().now() - 60_000

    found = diagnosed(mesh, "clocks", clock=Slow())
    assert set(codes(found)) == {"CLOCK_SKEW"}
    assert {finding.subject for finding in found.findings} == {
        f"clock of {name}" for name in ("Envoy", "collector", "processor", "reporter", "control")
    }
    assert "ahead of this machine" in found.findings[0].cause


@pytest.mark.timeout(60)
def test_certificates_that_ended_or_end_soon_or_are_no_certificates_are_found(mesh: Mesh, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    directory = tmp_path / "control"
    directory.mkdir()
    certificate(directory / "tls.crt", now + timedelta(days=200))
    (directory / "tls.key").write_text("a private key is not read")
    variables = {
        "HITMESH_TLS_CERT_FILE": str(certificate(tmp_path / "ended.pem", now - timedelta(days=1))),
        "HITMESH_COLLECTOR_TLS_CERT_FILE": str(certificate(tmp_path / "soon.pem", now + timedelta(days=3))),
        "HITMESH_TLS_CA_FILE": str(certificate(tmp_path / "good.pem", now + timedelta(days=300))),
        "HITMESH_CONTROL_TLS_DIR": str(directory),
        "HITMESH_REPORTER_TLS_CERT_FILE": str(tmp_path / "missing.pem"),
        "HITMESH_TLS_KEY_FILE": str(tmp_path / "private-key.pem"),
    }
    found = diagnose(place(mesh, variables), [check for check in CHECKS if check.name == "certificates"])
    assert {finding.kind.code: Path(finding.subject.split()[1]).name for finding in found.findings} == {
        "CERTIFICATE_ENDED": "ended.pem",
        "CERTIFICATE_ENDS": "soon.pem",
        "CERTIFICATE_UNREADABLE": "missing.pem",
    }
    (result,) = found.results
    assert result.summary.startswith("5 certificates"), "the directory has a certificate too"
    assert any("expires in 2 days" in finding.cause for finding in found.findings)


def certificate(path: Path, ends: datetime) -> Path:
    """Write a self-signed certificate, and return its path."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, path.stem)])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(ends - timedelta(days=400)).not_valid_after(ends)
    path.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return path


@pytest.mark.timeout(60)
def test_the_table_names_cause_evidence_and_command_without_colours_in_a_pipe(mesh: Mesh) -> None:
    arguments = ["doctor", "--check", "disks", "--min-free-bytes", str(1 << 60), "-o", "table"]
    done: Finished = mesh.run(*arguments)
    assert done.code == PROBLEMS_FOUND
    assert "\x1b" not in done.out
    for label in ("problem", "cause", "evidence", "cure", "command"):
        assert f"\n  {label} " in done.out
    assert all(line == line.rstrip() for line in done.out.splitlines())


@pytest.mark.timeout(60)
def test_a_mesh_that_does_not_run_is_a_single_finding_within_the_time_limit(tmp_path: Path) -> None:
    done = run_command(["doctor", "--home", str(tmp_path / "nothing"), "-o", "json"])
    answer = one_json_line(done.out)
    assert (done.code, [*findings(answer)]) == (PROBLEMS_FOUND, ["door:DOOR_CLOSED"])
    assert answer["duration_s"] < 10


@pytest.mark.timeout(60)
def test_an_unknown_check_is_wrong_usage_and_the_message_lists_the_checks(tmp_path: Path) -> None:
    done = run_command(["doctor", "--check", "cnary", "--home", str(tmp_path)])
    assert done.code == 2
    assert "checks are door, services" in done.err
