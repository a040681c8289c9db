"""Test `hitmesh dev --tls`: Envoy and the services identify themselves to each other, and certificates rotate."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from hitmesh.tools.dev.given_settings import read_given
from tests.e2e.conftest import running_mesh
from tests.support.certificates import credentials, health_code, made, presented_serial, serial_in
from tests.support.mesh import Mesh, run_command
from tests.support.patience import patient
from tests.support.waiting import eventually

SERVICES = ("collector", "processor", "reporter", "control")
# A path of each service that answers a GET request, with the status of the answer.
PATHS = {"/v1/metrics": 200, "/v1/merchants/demo/sites": 200, "/v1/merchants/demo/sites/none:traceHit?hit_id=h": 404}


def ports_of(mesh: Mesh) -> dict[str, int]:
    """Return the port of each service, keyed by service."""
    listens = {each.service: each.variables for each in read_given(mesh.home / "run")}
    return {
        service: int(variables[f"HITMESH_{service.upper()}_LISTEN"].rpartition(":")[2])
        for service, variables in listens.items()
    }


def statuses(mesh: Mesh) -> dict[str, int]:
    """Return the status of each path's answer through Envoy."""
    found = {}
    for path in PATHS:
        connection = http.client.HTTPConnection(mesh.address, timeout=patient(10))
        try:
            connection.request("GET", path, headers={"authorization": f"Bearer {mesh.key}"})
            answer = connection.getresponse()
            answer.read()
            found[path] = answer.status
        finally:
            connection.close()
    return found


class AdminConnection(http.client.HTTPConnection):
    """A connection to Envoy's admin interface, which listens on a Unix socket."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(patient(5))
        self.sock.connect(self.host)


def serials_of_envoy(mesh: Mesh) -> set[str]:
    """Return the serial numbers of the certificates that Envoy uses, from its admin interface."""
    connection = AdminConnection(str(mesh.home / "run" / "admin.sock"))
    try:
        connection.request("GET", "/certs", headers={"host": "localhost"})
        body: Any = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    chains = [chain for each in body["certificates"] for chain in each.get("cert_chain", ())]
    return {chain["serial_number"].lower().lstrip("0") for chain in chains}


@contextmanager
def calling(mesh: Mesh) -> Iterator[list[dict[str, int]]]:
    """Send calls through Envoy without a pause; the result lists the statuses that were not expected."""
    stop, unexpected, calls = threading.Event(), list[dict[str, int]](), [0]

    def call() -> None:
        while not stop.is_set():
            found = statuses(mesh)
            calls[0] += 1
            if found != PATHS:
                unexpected.append(found)

    caller = threading.Thread(target=call)
    caller.start()
    yield unexpected
    seen = calls[0]
    eventually(lambda: calls[0] > seen + 1, "calls after the change", 20)
    stop.set()
    caller.join()


@pytest.fixture(scope="module")
def tls_mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """Return a mesh with mTLS between Envoy and the services."""
    yield from running_mesh(Mesh(tmp_path_factory.mktemp("tls-mesh") / "home", ("--no-demo-data", "--tls")))


@pytest.mark.timeout(90)
def test_hit_goes_in_and_a_report_comes_out_through_envoy(tls_mesh: Mesh) -> None:
    home = ["--home", str(tls_mesh.home)]
    assert run_command(["sites", "create", "demo/shop", "--currency", "EUR", *home]).code == 0
    sent = run_command(["send", "page", "https://shop.example/x", "--site", "demo/shop", *home])
    assert sent.code == 0, sent
    query = [
        "query",
        "--site",
        "demo/shop",
        "--metrics",
        "hits",
        "--dimensions",
        "page_path",
        "--last",
        "2d",
        "-o",
        "csv",
    ]
    wanted = "page_path,hits\r\n/x,1\r\n"
    eventually(lambda: run_command([*query, *home]).out == wanted, "the hit is in a report", 30)
    assert statuses(tls_mesh) == PATHS


def test_services_admit_only_envoy(tls_mesh: Mesh, tmp_path: Path) -> None:
    certs, ports, others = tls_mesh.home / "certs", ports_of(tls_mesh), made(tmp_path / "others")
    assert set(ports) == set(SERVICES)
    clients = {
        "Envoy": (credentials(certs / "envoy", certs / "ca.crt"), grpc.StatusCode.OK),
        "plaintext": (None, grpc.StatusCode.UNAVAILABLE),
        "no certificate": (credentials(None, certs / "ca.crt"), grpc.StatusCode.UNAVAILABLE),
        "other authority": (credentials(others / "envoy", certs / "ca.crt"), grpc.StatusCode.UNAVAILABLE),
        "other part": (credentials(certs / "kafka", certs / "ca.crt"), grpc.StatusCode.PERMISSION_DENIED),
    }
    for service, port in ports.items():
        found = {name: health_code(port, used) for name, (used, _) in clients.items()}
        assert found == {name: code for name, (_, code) in clients.items()}, service


@pytest.mark.timeout(90)
def test_certificates_rotate_while_calls_go_on(tls_mesh: Mesh) -> None:
    certs, ports = tls_mesh.home / "certs", ports_of(tls_mesh)
    before = {part: serial_in(certs / part) for part in ("envoy", *SERVICES)}
    presented = {service: presented_serial(port, certs / "envoy") for service, port in ports.items()}
    assert {**presented, "envoy": before["envoy"]} == before
    assert before["envoy"] in serials_of_envoy(tls_mesh)
    with calling(tls_mesh) as unexpected:
        assert run_command(["certs", "rotate", str(certs)]).code == 0
        after = {part: serial_in(certs / part) for part in before}
        assert not set(after.values()) & set(before.values())
        eventually(lambda: after["envoy"] in serials_of_envoy(tls_mesh), "Envoy uses the new certificate", 20)
        presented = {service: presented_serial(port, certs / "envoy") for service, port in ports.items()}
        assert {**presented, "envoy": after["envoy"]} == after
    assert unexpected == []
    assert before["envoy"] not in serials_of_envoy(tls_mesh)
