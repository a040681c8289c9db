"""Test a real Envoy with the configuration of a cluster: names instead of addresses, probes, and the drain."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hitmesh.tools.dev import drain, tcp_ports
from hitmesh.tools.dev.envoy import ADMIN_SOCKET, Address, Door
from tests.support.doors import ask, envoy_at
from tests.support.waiting import eventually


@contextlib.contextmanager
def cluster_door(run: Path) -> Iterator[Door]:
    """Run an Envoy whose services have names. Nothing listens at the services' ports."""
    http, operators, stats, service = (Address(tcp_ports.HOST, port) for port in tcp_ports.any_free(4))
    named = (Address("localhost", service.port),)
    log = run / "access.jsonl"
    door = Door(http, operators, stats, named, named, named, named, log, hosts=("hits.example",), in_cluster=True)
    with envoy_at(door, run):
        eventually(lambda: ask(door.stats, "GET", "/ready").status == 200, "Envoy is ready", 30)
        yield door


@pytest.fixture
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("door")


@pytest.mark.timeout(90)
def test_names_are_looked_up_and_probes_may_call_by_the_address_of_a_pod(run: Path) -> None:
    with cluster_door(run) as door:
        (service,) = door.reporters
        clusters = ask(door.stats, "GET", "/clusters").body.decode()
        for name in ("collector", "reporter", "processor", "control"):
            assert f"{name}::127.0.0.1:{service.port}::" in clusters
        assert ask(door.stats, "GET", "/ready", host=f"10.1.2.3:{door.stats.port}").status == 200
        assert ask(door.stats, "GET", "/ready", host="10.1.2.3").status == 403
        assert ask(door.http, "GET", "/v1/metrics", host="10.1.2.3").status == 403
        assert ask(door.http, "GET", "/v1/metrics", host="hits.example").status == 503, "no instance is healthy"


@pytest.mark.timeout(90)
def test_a_draining_envoy_is_not_ready_and_closes_connections_and_still_answers(run: Path) -> None:
    with cluster_door(run) as door:
        assert not closes_connections(door)
        assert drain.main([str(run / ADMIN_SOCKET), "0"]) == 0
        assert ask(door.stats, "GET", "/ready").status == 503
        assert closes_connections(door)
        assert ask(door.http, "GET", "/nowhere", host="hits.example").status == 404


def closes_connections(door: Door) -> bool:
    return ask(door.http, "GET", "/nowhere", host="hits.example").headers.get("connection") == "close"


def test_without_an_envoy_the_command_waits_and_fails_and_names_the_socket(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    began_s = time.monotonic()
    assert drain.main([str(tmp_path / "none.sock"), "0.2"]) == 1
    assert time.monotonic() - began_s >= 0.2, "other programs need the time to leave the pod"
    assert "none.sock" in capsys.readouterr().err
