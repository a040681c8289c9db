"""Test that a service whose server is suspended is not ready and stays live, and is ready again by itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hitmesh.runtime.health import LIVE, READY
from tests.breaking.outages.servers import Control
from tests.support.patience import patient
from tests.support.services import Cluster, Service
from tests.support.waiting import eventually

# The service that needs a server, and the server's name in causes.
NEEDS = (("kafka", "collector", "Kafka"), ("cassandra", "processor", "Cassandra"))
SERVING = health_pb2.HealthCheckResponse.SERVING
NOTICED_S = 30.0


@pytest.mark.long  # each server is suspended for about ten seconds
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("server", "needs", "name"), NEEDS)
def test_a_service_is_not_ready_while_its_server_sleeps(
    server: str, needs: str, name: str, store_url: str, servers_control: Control, tmp_path: Path
) -> None:
    with Cluster(tmp_path, store_url) as cluster:
        service: Service = getattr(cluster, needs)
        service.start()
        service.wait_for_line("ready")
        servers_control.pause(server)
        try:
            eventually(lambda: not is_serving(service, READY), f"{needs} is not ready", NOTICED_S)
            assert is_serving(service, LIVE)
            assert service.is_running
        finally:
            servers_control.resume(server)
        eventually(lambda: is_serving(service, READY), f"{needs} is ready again", NOTICED_S)
        (line,) = lines(service, "not_ready")
        assert name in " ".join(line["causes"])


def is_serving(service: Service, name: str) -> bool:
    with grpc.insecure_channel(port_of(service)) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        return bool(stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=patient(5)).status == SERVING)


def port_of(service: Service) -> str:
    return f"127.0.0.1:{lines(service, 'serving')[0]['port']}"


def lines(service: Service, event: str) -> list[Any]:
    """Return the log lines of an event."""
    log = service.log.read_text(errors="replace").splitlines()
    return [json.loads(line) for line in log if f'"event": "{event}"' in line]
