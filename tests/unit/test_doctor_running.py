"""Test how the doctor runs checks: side by side, each within its time limit, and errors become findings."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hitmesh.model.errors import Unavailable
from hitmesh.tools.doctor import kinds
from hitmesh.tools.doctor.findings import Diagnosis, Severity, Skipped, Status, Verdict
from hitmesh.tools.doctor.gather_mesh import resolved
from hitmesh.tools.doctor.limits import Limits
from hitmesh.tools.doctor.place import Options, Place, find_place
from hitmesh.tools.doctor.running import DOOR, Check, Needs, Watch, diagnose

PLACE = Place(Path("/home"), uses_home=True, door="127.0.0.1:1", operators="127.0.0.1:2")


@pytest.fixture
def never() -> Iterator[threading.Event]:
    """Return an event that is set only when the test is over, so that no thread outlives the test."""
    event = threading.Event()
    yield event
    event.set()


def judge(facts: str, _: Limits) -> Verdict:
    return Verdict(facts, [kinds.DISK_LOW.about("disk", "c", "e", path="/a")] if facts == "bad" else [])


def check(
    name: str, gather: Callable[[Place, Watch], Any], *, needs: Needs = Needs.NOTHING, deadline_s: float = 20.0
) -> Check[Any]:
    return Check(name, "?", "!", deadline_s, needs, (kinds.DISK_LOW,), gather, judge)


def only(found: Diagnosis) -> tuple[Status, list[str], str]:
    (result,) = found.results
    return result.status, [finding.kind.code for finding in result.findings], result.summary


def test_a_check_that_hangs_is_a_finding_that_names_what_does_not_answer(never: threading.Event) -> None:
    def hang(_: Place, watch: Watch) -> str:
        watch.on("Kafka at 127.0.0.1:9092")
        never.wait()
        return "late"

    found = diagnose(PLACE, [check("topics", hang, deadline_s=0.2)])
    assert only(found)[:2] == (Status.PROBLEM, ["NO_ANSWER"])
    (finding,) = found.findings
    assert finding.cause == "Kafka at 127.0.0.1:9092 does not answer"
    assert finding.evidence == "no answer within 0.2 s"
    assert 0.2 <= found.duration_s < 10.0


def test_checks_run_side_by_side() -> None:
    together = threading.Barrier(3)

    def meet(_: Place, __: Watch) -> str:
        together.wait(10.0)  # raises if the checks run one after another
        return "met"

    found = diagnose(PLACE, [check(name, meet) for name in ("a", "b", "c")])
    assert [(result.check, result.status) for result in found.results] == [(name, Status.OK) for name in "abc"]


def test_an_error_of_a_check_is_a_finding_and_the_other_checks_go_on() -> None:
    def fail(_: Place, watch: Watch) -> str:
        watch.on("the broker")
        raise Unavailable("Druid does not answer:\n try again")

    found = diagnose(PLACE, [check("a", fail), check("b", lambda *_: "fine")])
    assert [result.status for result in found.results] == [Status.PROBLEM, Status.OK]
    (finding,) = found.findings
    assert (finding.cause, finding.evidence) == (
        "the broker does not answer as expected",
        "Druid does not answer: try again",
    )


def test_a_bug_in_a_check_is_a_finding_too() -> None:
    found = diagnose(PLACE, [check("a", lambda *_: 1 // 0)])
    assert only(found)[:2] == (Status.PROBLEM, ["NO_ANSWER"])
    assert "ZeroDivisionError" in found.findings[0].evidence


def test_checks_that_need_the_mesh_are_skipped_if_the_door_has_a_finding() -> None:
    def unreachable(_: Place, __: Watch) -> str:
        raise AssertionError("this check must not run")

    door = check(DOOR, lambda *_: "bad")
    found = diagnose(PLACE, [check("a", unreachable, needs=Needs.MESH), door, check("b", lambda *_: "fine")])
    assert [(result.check, result.status) for result in found.results] == [
        ("a", Status.SKIPPED),
        (DOOR, Status.PROBLEM),
        ("b", Status.OK),
    ]


def test_checks_of_servers_and_files_are_skipped_with_the_reason() -> None:
    checks = [check("s", lambda *_: "x", needs=Needs.SERVERS), check("f", lambda *_: "x", needs=Needs.FILES)]
    found = diagnose(PLACE, checks)
    assert [result.status for result in found.results] == [Status.SKIPPED, Status.SKIPPED]
    assert found.results[0].summary == "no store URL is known: give --backend"


def test_a_gatherer_may_skip_its_check() -> None:
    found = diagnose(PLACE, [check("a", lambda *_: Skipped("no key"))])
    assert only(found) == (Status.SKIPPED, [], "no key")
    assert not found.fails(Severity.WARNING), "a skipped check is no problem"


def test_the_severity_decides_whether_a_diagnosis_fails() -> None:
    warned = diagnose(PLACE, [check("a", lambda *_: "bad")])
    assert warned.fails(Severity.WARNING)
    assert not warned.fails(Severity.ERROR)


def test_a_shorter_limit_applies_to_all_checks(never: threading.Event) -> None:
    def hang(_: Place, __: Watch) -> str:
        never.wait()
        return "late"

    found = diagnose(PLACE, [check("a", hang), check("b", hang)], at_most_s=0.1)
    assert [finding.evidence for finding in found.findings] == ["no answer within 0.1 s"] * 2


def test_a_command_quotes_the_values_of_its_finding() -> None:
    finding = kinds.DISK_FULL.about("disk", "c", "e", path="/a b; rm")
    assert finding.command({"home": ""}, in_cluster=False) == "du -xh --max-depth=2 '/a b; rm'"
    assert finding.command({"home": ""}, in_cluster=True).startswith("kubectl ")


def test_names_of_permitted_callers_are_no_certificate(tmp_path: Path) -> None:
    environment = {
        "HITMESH_ENDPOINT": "127.0.0.1:1",
        "HITMESH_COLLECTOR_TLS_DIR": "/tls/collector",
        "HITMESH_COLLECTOR_TLS_PEERS": "spiffe://hitmesh/envoy",
    }
    found = find_place(Options(), tmp_path, environment)
    assert found.certificates == {"HITMESH_COLLECTOR_TLS_DIR": Path("/tls/collector")}


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({socket.AF_INET: ["10.0.0.2", "10.0.0.1"], socket.AF_INET6: ["fd00::1"]}, ["10.0.0.1:9", "10.0.0.2:9"]),
        ({socket.AF_INET6: ["fd00::1"]}, ["[fd00::1]:9"]),
        ({}, ["collector:9"]),
    ],
)
def test_a_pod_with_addresses_of_both_families_counts_once(
    known: dict[socket.AddressFamily, list[str]], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def getaddrinfo(host: str, port: int, family: socket.AddressFamily, kind: socket.SocketKind) -> list[Any]:
        if family not in known:
            raise socket.gaierror(socket.EAI_NONAME, f"no address of {host}")
        return [(family, kind, 6, "", (address, port)) for address in known[family]]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert [address for _, address in resolved("collector", "collector:9", Watch(1.0))] == expected
