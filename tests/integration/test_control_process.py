"""Test the control service as a process: settings, health, exit codes, and stores that the first call opens."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from control.service import SERVICES
from control.settings import ControlSettings
from hitmesh.adapters.directories import open_directory
from hitmesh.api.control.v1 import admin_pb2, admin_pb2_grpc, operations_pb2, operations_pb2_grpc
from hitmesh.model.errors import RefusedError
from hitmesh.model.sites import Site
from hitmesh.runtime.clock import SystemClock
from hitmesh.runtime.config import load
from tests.support.mesh import environment
from tests.support.patience import patient
from tests.support.reporters import refusal
from tests.support.waiting import eventually

SITE = "merchants/demo/sites/shop"
SERVING = health_pb2.HealthCheckResponse.SERVING


@contextmanager
def a_control(**settings: str) -> Iterator[tuple[subprocess.Popen[bytes], grpc.Channel]]:
    """Run a control service with the given settings, and yield its process and a channel to it."""
    variables = {f"HITMESH_CONTROL_{name}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "control"]
    with subprocess.Popen(
        command, env=environment(**variables), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            port = next(json.loads(line)["port"] for line in process.stdout or () if b'"serving"' in line)
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                yield process, channel
        finally:
            process.kill()


def is_serving(health: Any, service: str) -> bool:
    return bool(health.Check(health_pb2.HealthCheckRequest(service=service), timeout=patient(20)).status == SERVING)


@pytest.mark.timeout(120)
def test_control_serves_sites_then_opens_the_ledger_and_stops_with_0(tmp_path: Path) -> None:
    directory = open_directory(store := f"embedded:{tmp_path}", SystemClock())
    directory.port.create_site(Site(SITE, "UTC", "USD", b"secret of a test"))
    directory.close()
    with a_control(STORE=store, OPEN_READS="true") as (process, channel):
        health: Any = health_pb2_grpc.HealthStub(channel)
        for service in ("", *SERVICES):
            eventually(partial(is_serving, health, service), "the directory has answered")
        listed = admin_pb2_grpc.AdminServiceStub(channel).ListSites(admin_pb2.ListSitesRequest(parent="merchants/-"))
        assert [site.name for site in listed.sites] == [SITE]
        assert [file.name for file in tmp_path.glob("*.db")] == ["directory.db"]
        request = operations_pb2.GetLedgerRequest(site=SITE)
        found = operations_pb2_grpc.OperationsServiceStub(channel).GetLedger(request, timeout=patient(20))
        assert (found.imbalance, found.totals.received.hits, found.data_version) == (0, 0, "s0.p0")
        process.send_signal(signal.SIGTERM)
        assert process.wait(patient(20)) == 0


@pytest.mark.timeout(120)
def test_control_reads_need_a_key_unless_a_setting_opens_them() -> None:
    with a_control(STORE="memory:") as (_, channel):
        listing = admin_pb2.ListSitesRequest(parent="merchants/-")
        for read in (
            lambda: admin_pb2_grpc.AdminServiceStub(channel).ListSites(listing, timeout=patient(20)),
            lambda: operations_pb2_grpc.OperationsServiceStub(channel).GetSitelessLedger(
                operations_pb2.GetSitelessLedgerRequest(), timeout=patient(20)
            ),
        ):
            assert refusal(read).code is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("settings", "word"),
    [({"STORE": "nowhere:"}, "nowhere:"), ({"STORE": "memory:", "WORKRES": "2"}, "HITMESH_CONTROL_WORKERS")],
)
def test_control_with_a_wrong_setting_names_the_setting_and_ends_with_3(settings: dict[str, str], word: str) -> None:
    variables = {f"HITMESH_CONTROL_{name}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "control"]
    done = subprocess.run(command, env=environment(**variables), capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert word in done.stderr


@pytest.mark.timeout(60)
@pytest.mark.parametrize("settings", [{"STORE": "nowhere:"}, {"STORE": "memory:", "WORKERS": "0"}, {}])
def test_config_show_reports_what_control_refuses(settings: dict[str, str]) -> None:
    variables = {f"HITMESH_CONTROL_{name}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "control"]
    done = subprocess.run(command, env=environment(**variables), capture_output=True, text=True, check=False)
    command = [sys.executable, "-m", "hitmesh.tools.cli", "config", "show", "control", "-o", "json"]
    shown = subprocess.run(command, env=environment(**variables), capture_output=True, text=True, check=False)
    assert (done.returncode, shown.returncode) == (3, 3)
    assert done.stderr.strip() in json.loads(shown.stderr)["message"]


def test_control_with_a_damaged_directory_ends_with_1(tmp_path: Path) -> None:
    (tmp_path / "directory.db").write_bytes(b"no database" * 1_000)
    variables = {"HITMESH_CONTROL_STORE": f"embedded:{tmp_path}"}
    command = [sys.executable, "-m", "control"]
    done = subprocess.run(command, env=environment(**variables), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "directory.db" in done.stderr


def test_settings_of_control_have_bounds() -> None:
    settings = load(ControlSettings, {"HITMESH_CONTROL_STORE": "memory:", "HITMESH_CONTROL_MAX_CALLS": "7"})
    assert (settings.max_calls, settings.open_reads) == (7, False)
    with pytest.raises(RefusedError, match="HITMESH_CONTROL_WORKERS"):
        load(ControlSettings, {"HITMESH_CONTROL_STORE": "memory:", "HITMESH_CONTROL_WORKERS": "0"})
