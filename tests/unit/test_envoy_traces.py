"""Test the parts of Envoy's configuration that send spans."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hitmesh.tools.dev import tcp_ports
from hitmesh.tools.dev.envoy import Address, Door, binary, render
from hitmesh.tools.dev.envoy_traces import NO_TRACES, TracedDoor, tracing


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
