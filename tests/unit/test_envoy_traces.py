"""Test the parts of Envoy's configuration that send spans."""

from __future__ import annotations

import http.client
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hitmesh.tools.dev import tcp_ports
from hitmesh.tools.dev.envoy import Address, Door, binary, render
from hitmesh.tools.dev.envoy_traces import NO_TRACES, TracedDoor, tracing
from tests.support.otlp_receiver import OtlpReceiver
from tests.support.waiting import eventually


def a_door(directory: Path) -> Door:
    http, operators, stats, *services = (Address(tcp_ports.HOST, port) for port in range(18_001, 18_008))
    collectors, reporters, processors, controls = ((address,) for address in services)
    return Door(http, operators, stats, collectors, reporters, processors, controls, directory / "access.jsonl")


@pytest.mark.timeout(60)
def test_envoy_accepts_the_configuration_with_a_collector(tmp_path: Path) -> None:
    config = tmp_path / "envoy.yaml"
    config.write_text(render(replace(a_door(tmp_path), traced=TracedDoor("otel.example", 4317, 0.25))))
    command = [str(binary()), "--mode", "validate", "-c", str(config), "--log-level", "error"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def test_both_listeners_record_traces_and_send_them_to_the_collector(tmp_path: Path) -> None:
    text = render(replace(a_door(tmp_path), traced=TracedDoor("otel.example", 4317, 0.25)))
    assert text.count("tracing: {") == 2
    (cluster,) = (json.loads(line.strip()[2:]) for line in text.splitlines() if '"name": "otlp"' in line)
    (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    assert endpoint["endpoint"]["address"]["socket_address"] == {"address": "otel.example", "port_value": 4317}


def request(door: Door, path: str, headers: dict[str, str]) -> None:
    connection = http.client.HTTPConnection(tcp_ports.HOST, door.http.port, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        connection.getresponse().read()
    finally:
        connection.close()


def has_answer(door: Door, path: str, headers: dict[str, str]) -> bool:
    try:
        request(door, path, headers)
    except OSError:
        return False
    return True


@pytest.mark.timeout(60)
def test_spans_of_envoy_have_no_address_no_user_agent_and_no_query(tmp_path: Path) -> None:
    http_, operators, stats, *services = (Address(tcp_ports.HOST, port) for port in tcp_ports.any_free(7))
    collectors, reporters, processors, controls = ((address,) for address in services)
    door = Door(http_, operators, stats, collectors, reporters, processors, controls, tmp_path / "access.jsonl")
    headers = {"user-agent": "SECRET-AGENT", "x-forwarded-for": "203.0.113.9"}
    path = f"/v1/merchants/a/{'b' * 300}?visitor=SECRET"
    with OtlpReceiver() as receiver:
        config = tmp_path / "envoy.yaml"
        config.write_text(render(replace(door, traced=TracedDoor(tcp_ports.HOST, receiver.port, 1.0))))
        command = [str(binary()), "-c", str(config), "--disable-hot-restart", "--log-level", "off"]
        with subprocess.Popen(command, cwd=tmp_path) as envoy:
            try:
                eventually(lambda: has_answer(door, path, headers), "Envoy answers")
                eventually(lambda: receiver.spans, "a span arrives")
            finally:
                envoy.terminate()
    for span in receiver.spans:
        assert (span.attributes["peer.address"], span.attributes["user_agent"]) == ("(hidden)", "(hidden)")
        url = span.attributes["http.url"]
        assert url.startswith(f"http://{tcp_ports.HOST}:{door.http.port}/v1/merchants/a/bbb")
        assert len(url) < 300
        assert not any(text in str(span.attributes) for text in ("SECRET", "203.0.113.9"))


def test_envoy_without_a_collector_records_nothing(tmp_path: Path) -> None:
    text = render(a_door(tmp_path))
    assert "opentelemetry" not in text
    assert text.count(NO_TRACES) == 3, "two listeners and the list of clusters"


@pytest.mark.parametrize(("ratio", "millionths"), [(0.0, 0), (0.001, 1_000), (1.0, 1_000_000)])
def test_caller_decides_and_otherwise_the_ratio_and_no_header_forces_a_trace(ratio: float, millionths: int) -> None:
    config = json.loads(tracing(TracedDoor("h", 1, ratio)))
    sampler = config["provider"]["typed_config"]["sampler"]
    assert sampler["name"].endswith(".parent_based")
    wrapped = sampler["typed_config"]["wrapped_sampler"]["typed_config"]
    assert wrapped["sampling_percentage"] == {"numerator": millionths, "denominator": "MILLION"}
    assert config["client_sampling"] == {"value": 0}
