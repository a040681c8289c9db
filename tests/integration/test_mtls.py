"""Test a server with mTLS: which peers it admits, and that it uses replaced certificates for new connections."""

from __future__ import annotations

import http.client
import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from hitmesh.runtime import probe
from hitmesh.runtime.call_limits import CallPool
from hitmesh.runtime.lifecycle import new_server, serve
from hitmesh.runtime.telemetry import unmeasured
from hitmesh.runtime.tls import ServerTls
from hitmesh.runtime.tls_files import CertificateFiles
from hitmesh.runtime.tls_identity import identity
from hitmesh.tools.dev import tcp_ports
from hitmesh.tools.dev.envoy import Address, Door, binary, render
from hitmesh.tools.dev.mesh_tls import MeshTls
from tests.support.certificates import credentials, health_code, made, presented_serial, rotate, serial_in
from tests.support.patience import patient
from tests.support.waiting import eventually

OK, REFUSED, UNREACHABLE = grpc.StatusCode.OK, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAVAILABLE


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("mesh") / "certs")


@pytest.fixture(scope="module")
def port(certs: Path) -> Iterator[int]:
    """Serve health and reflection with the collector's certificate, for Envoy and control only."""
    tls = ServerTls(CertificateFiles(certs / "collector"), frozenset({identity("envoy"), identity("control")}))
    server, _ = new_server(CallPool(2), unmeasured(), tls=tls)
    stop, ready, (chosen,) = threading.Event(), threading.Event(), tcp_ports.any_free(1)
    listen = f"127.0.0.1:{chosen}"
    options = {"listen": listen, "services": (), "stop": stop, "ready": ready.set, "tls": tls}
    serving = threading.Thread(target=serve, args=(server,), kwargs=options)
    serving.start()
    assert ready.wait(patient(10))
    yield chosen
    stop.set()
    serving.join(patient(10))


@pytest.mark.parametrize(
    ("part", "code"), [("envoy", OK), ("control", OK), ("kafka", REFUSED), ("client", REFUSED), ("collector", REFUSED)]
)
def test_only_named_peers_are_admitted(port: int, certs: Path, part: str, code: grpc.StatusCode) -> None:
    assert health_code(port, credentials(certs / part, certs / "ca.crt")) is code


def test_peer_without_certificate_or_with_plaintext_is_refused(port: int, certs: Path) -> None:
    assert health_code(port, credentials(None, certs / "ca.crt")) is UNREACHABLE
    assert health_code(port, None) is UNREACHABLE


def test_certificate_of_another_authority_is_refused(port: int, certs: Path, tmp_path: Path) -> None:
    others = made(tmp_path / "others")
    assert health_code(port, credentials(others / "envoy", certs / "ca.crt")) is UNREACHABLE


def test_client_refuses_a_server_of_another_authority(port: int, certs: Path, tmp_path: Path) -> None:
    others = made(tmp_path / "others")
    assert health_code(port, credentials(certs / "envoy", others / "ca.crt")) is UNREACHABLE


def test_streams_are_refused_too_and_the_message_names_the_cure(port: int, certs: Path) -> None:
    with grpc.secure_channel(f"localhost:{port}", credentials(certs / "druid", certs / "ca.crt")) as channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        calls = stub.ServerReflectionInfo(
            iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=patient(5)
        )
        with pytest.raises(grpc.RpcError) as refused:
            list(calls)
    assert refused.value.code() is REFUSED
    assert "call through Envoy" in str(refused.value.details())


def test_new_connections_use_replaced_certificates_and_open_connections_go_on(port: int, certs: Path) -> None:
    used = credentials(certs / "envoy", certs / "ca.crt")
    before = serial_in(certs / "collector")
    assert presented_serial(port, certs / "envoy") == before
    with grpc.secure_channel(f"localhost:{port}", used) as channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        listing = reflection_pb2.ServerReflectionRequest(list_services="")
        assert list(stub.ServerReflectionInfo(iter([listing]), timeout=patient(5)))
        rotate(certs, "collector", "envoy")
        after = serial_in(certs / "collector")
        assert presented_serial(port, certs / "envoy") == after != before
        assert list(stub.ServerReflectionInfo(iter([listing]), timeout=patient(5)))
    assert health_code(port, credentials(certs / "envoy", certs / "ca.crt")) is OK


def test_unusable_files_are_ignored_until_they_are_usable(port: int, certs: Path) -> None:
    current = serial_in(certs / "collector")
    link = certs / "collector" / "tls.crt"
    target = link.readlink()
    link.unlink()
    link.write_bytes((certs / "envoy" / "tls.crt").read_bytes())  # does not fit the key
    assert presented_serial(port, certs / "envoy") == current
    link.unlink()
    assert presented_serial(port, certs / "envoy") == current
    link.symlink_to(target)
    rotate(certs, "collector")
    assert presented_serial(port, certs / "envoy") == serial_in(certs / "collector") != current


def test_probe_of_a_pod_presents_a_certificate_and_names_the_cause(
    port: int, certs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert probe.main([str(port), "--tls-dir", str(certs / "control")]) == 0
    assert capsys.readouterr().err == ""
    causes = {
        ("--tls-dir", str(certs / "kafka")): "PERMISSION_DENIED",
        ("--tls-dir", str(made(tmp_path / "others") / "control")): "UNAVAILABLE",
        ("--tls-dir", str(certs / "control"), "--service", "hitmesh.Other"): "NOT_FOUND",
        ("--tls-dir", str(tmp_path)): "hitmesh certs make",
    }
    for arguments, cause in causes.items():
        assert probe.main([str(port), *arguments]) == 1
        assert cause in capsys.readouterr().err


def test_envoy_uses_only_a_service_with_the_identity_of_its_cluster(port: int, certs: Path, tmp_path: Path) -> None:
    service, (public, operators, stats) = tcp_ports.HOST, tcp_ports.any_free(3)
    collector, tls = (Address(service, port),), MeshTls(certs, tmp_path).door
    fleet = (collector, collector, collector, collector)  # every cluster has the address of the collector
    doors = Address(service, public), Address(service, operators), Address(service, stats)
    config = tmp_path / "envoy.yaml"
    config.write_text(render(Door(*doors, *fleet, tmp_path / "access.jsonl", tls=tls)), encoding="utf-8")
    command = [
        str(binary()),
        "-c",
        str(config),
        "--log-level",
        "warning",
        "--concurrency",
        "1",
        "--disable-hot-restart",
    ]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as envoy:
        try:
            clusters = frozenset(("collector", "reporter", "processor", "control"))
            eventually(lambda: refused_handshakes(stats) == clusters - {"collector"}, "three clusters refuse", 20)
        finally:
            envoy.kill()


def refused_handshakes(stats: int) -> frozenset[str]:
    """Return the clusters in which Envoy refused the identity of a service."""
    connection = http.client.HTTPConnection("127.0.0.1", stats, timeout=patient(5))
    try:
        connection.request("GET", "/stats?filter=ssl.fail_verify_san&format=json")
        found = json.loads(connection.getresponse().read())["stats"]
    except (OSError, http.client.HTTPException, ValueError):
        return frozenset()
    finally:
        connection.close()
    return frozenset(each["name"].split(".")[1] for each in found if each.get("value"))
