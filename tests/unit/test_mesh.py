"""Test the pure parts of the launcher: rendering, free ports, and the content of a home."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from hitmesh.access.rights import RULES, paths_of
from hitmesh.access.rights import Door as RightsDoor
from hitmesh.tools.dev import children, home, instances, tcp_ports
from hitmesh.tools.dev.envoy import Address, Door, binary, descriptors, render
from hitmesh.tools.dev.health import Causes, Silence, only_recover, silent_instances, unhealthy_clusters
from tests.support.patience import patient
from tests.support.processes import is_alive


def a_door(access_log: Path) -> Door:
    host = tcp_ports.HOST
    collectors, reporters, processors, controls = ((Address(host, port),) for port in (18001, 18002, 18003, 18004))
    http, operators, stats = Address(host, 18080), Address(host, 18081), Address(host, 19901)
    return Door(http, operators, stats, collectors, reporters, processors, controls, access_log)


@pytest.mark.timeout(60)
def test_envoy_accepts_the_rendered_configuration(tmp_path: Path) -> None:
    config = tmp_path / "envoy.yaml"
    config.write_text(render(a_door(tmp_path / 'with "quotes" and $dollar.jsonl')), encoding="utf-8")
    command = [str(binary()), "--mode", "validate", "-c", str(config), "--log-level", "error"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "OK" in checked.stdout + checked.stderr


def test_time_outs_are_off_for_stream_hits_only(tmp_path: Path) -> None:
    rendered = render(a_door(tmp_path / "access.jsonl"))
    without_time_out = [line for line in rendered.splitlines() if "timeout: 0s" in line]
    assert len(without_time_out) == 2, "one for each listener"
    lines = rendered.splitlines()
    for at in (number for number, line in enumerate(lines) if line in without_time_out):
        assert lines[at - 1].strip().startswith("- match: {path: /hitmesh.api.collector.v1.CollectorService/StreamHits")


def test_envoy_watches_each_service_by_its_name(tmp_path: Path) -> None:
    rendered = render(a_door(tmp_path / "access.jsonl"))
    assert re.findall(r"grpc_health_check: \{(.*)\}", rendered) == [
        "service_name: hitmesh.api.collector.v1.CollectorService",
        "service_name: hitmesh.api.reporter.v1.ReporterService",
        "service_name: hitmesh.api.control.v1.AdminService",
        "",  # the processor's only service is for traces, which this processor does not serve
    ]


def test_the_public_listener_knows_no_rpc_of_operators(tmp_path: Path) -> None:
    rendered = render(a_door(tmp_path / "access.jsonl"))
    described = [
        methods_in(base64.b64decode(found)) for found in re.findall(r'proto_descriptor_bin: "([^"]+)"', rendered)
    ]
    known = {path for path in RULES if path.startswith("/hitmesh.")}
    assert described == [known - set(paths_of(RightsDoor.OPERATORS)), known]
    assert re.findall(r"- name: (door|operators)$", rendered, re.MULTILINE) == ["door", "operators"]
    public, operators = rendered.split("- name: operators")
    for path in paths_of(RightsDoor.OPERATORS):
        service = path.rpartition("/")[0]
        is_missing = f'"prefix": "{service}/"' in public or f'"path": "{path}"' in public
        assert is_missing, path
        assert f'"path": "{path}"' not in operators


def methods_in(descriptors: bytes) -> set[str]:
    files = descriptor_pb2.FileDescriptorSet.FromString(descriptors).file
    return {
        f"/{file.package}.{service.name}/{method.name}"
        for file in files
        for service in file.service
        for method in service.method
    }


def test_descriptors_are_in_the_package() -> None:
    assert descriptors().stat().st_size > 1000


def test_a_port_that_someone_listens_on_is_not_free_and_its_holder_is_found() -> None:
    with socket.socket() as taken:
        taken.bind((tcp_ports.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert not tcp_ports.is_free(port)
        assert tcp_ports.next_free(port) != port
        assert tcp_ports.holder(port) == os.getpid()


def test_free_ports_are_distinct() -> None:
    assert len(set(tcp_ports.any_free(8))) == 8


def test_clusters_are_unhealthy_while_envoy_does_not_answer() -> None:
    wanted = frozenset({"collector", "reporter"})
    assert unhealthy_clusters(Address(tcp_ports.HOST, tcp_ports.any_free(1)[0]), wanted) == wanted


def test_instances_are_not_known_while_envoy_does_not_answer() -> None:
    assert silent_instances(Address(tcp_ports.HOST, tcp_ports.any_free(1)[0])) is None


@contextmanager
def an_envoy(statuses: list[dict[str, object]]) -> Iterator[Address]:
    """Serve statuses of clusters, as Envoy's statistics listener does."""

    class Stats(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps({"cluster_statuses": statuses}).encode())

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer((tcp_ports.HOST, 0), Stats) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Address(tcp_ports.HOST, server.server_port)
        finally:
            server.shutdown()
            thread.join()


def a_host(port: int, **failures: bool) -> dict[str, object]:
    place = {"address": tcp_ports.HOST, "port_value": port}
    return {"address": {"socket_address": place}, "health_status": {"eds_health_status": "HEALTHY", **failures}}


def test_a_cluster_is_healthy_when_an_instance_passes_every_check_and_those_that_time_out_are_silent() -> None:
    statuses: list[dict[str, object]] = [
        {"name": "collector", "host_statuses": [a_host(1, failed_active_health_check=True), a_host(2)]},
        {"name": "reporter", "host_statuses": [a_host(3, failed_active_health_check=True, active_hc_timeout=True)]},
        {"name": "control"},
    ]
    with an_envoy(statuses) as stats:
        wanted = frozenset({"collector", "reporter", "control", "processor"})
        assert unhealthy_clusters(stats, wanted) == wanted - {"collector"}
        assert silent_instances(stats) == frozenset({Address(tcp_ports.HOST, 3)})


@pytest.mark.parametrize(
    ("replicas", "processors"),
    [
        (1, {"processor": {}}),
        (
            2,
            {
                "processor-0": {"ROLE": "stream"},
                "processor-1": {"ROLE": "stream"},
                "settler-0": {"ROLE": "settler"},
                "settler-1": {"ROLE": "settler"},
            },
        ),
    ],
)
def test_several_processors_leave_the_settlements_to_settlers_and_every_listener_has_an_address(
    replicas: int, processors: dict[str, dict[str, str]]
) -> None:
    free = iter([Address(tcp_ports.HOST, port) for port in range(1, 1 + instances.count(replicas))])
    plan = instances.planned(free, replicas)
    assert next(free, None) is None
    assert {each.name: each.settings for each in plan if each.service == "processor"} == processors


def test_a_process_hangs_that_is_silent_at_every_look_for_longer_than_the_limit() -> None:
    silence = Silence(30.0)
    assert silence.hanging(["collector", "reporter"], 0.0) == []
    assert silence.hanging(["collector"], 20.0) == []
    assert silence.hanging(["collector", "reporter"], 30.0) == []
    assert silence.hanging(["collector", "reporter"], 30.1) == ["collector"]


def test_a_process_that_starts_again_is_not_looked_at_until_it_had_time() -> None:
    silence = Silence(1.0)
    silence.spare("collector", 60.0)
    assert [silence.hanging(["collector"], at_s) for at_s in (0.0, 59.0, 60.0, 61.0)] == [[]] * 4
    assert silence.hanging(["collector"], 61.1) == ["collector"]


def test_a_home_is_locked_by_one_mesh_at_a_time(tmp_path: Path) -> None:
    place = home.Home(tmp_path)
    place.prepare()
    held = place.lock()
    assert held is not None
    assert place.lock() is None
    assert place.lock_holder() == str(os.getpid())
    held.close()
    again = place.lock()
    assert again is not None
    again.close()


def test_files_below_a_home_are_readable_by_its_owner_only(tmp_path: Path) -> None:
    place = home.Home(tmp_path)
    place.data.mkdir(mode=0o755)
    place.prepare()
    assert {stat.S_IMODE(entry.stat().st_mode) for entry in tmp_path.iterdir()} == {0o700}


def test_a_secret_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    place = home.Home(tmp_path)
    place.prepare()
    secret = home.new_secret()
    home.write_secret(place.server_key, secret)
    assert place.server_key.read_text().strip() == secret
    assert stat.S_IMODE(place.server_key.stat().st_mode) == 0o600


@pytest.mark.parametrize("servers", [{}, {"kafka": 7}])
def test_the_ready_file_has_these_entries_and_servers_where_there_are_some(
    tmp_path: Path, servers: dict[str, int]
) -> None:
    path = tmp_path / "deep" / "ready.json"
    home.write_ready_file(
        path,
        Address(tcp_ports.HOST, 8080),
        {"collector": "http://127.0.0.1:9464/metrics"},
        servers,
        operators=Address(tcp_ports.HOST, 8081),
    )
    assert json.loads(path.read_text()) == {
        "http": "http://127.0.0.1:8080",
        "grpc": "127.0.0.1:8080",
        "operators": "127.0.0.1:8081",
        "pid": os.getpid(),
        "metrics": {"collector": "http://127.0.0.1:9464/metrics"},
    } | ({"servers": servers} if servers else {})
    assert [entry.name for entry in path.parent.iterdir()] == ["ready.json"]


def test_a_child_that_ends_is_noticed_with_its_last_lines(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('\\n'.join(map(str, range(50))))"]
    child = children.start("short", command, os.environ, tmp_path / "short.log")
    assert children.wait_any([child], 10) is child
    assert child.last_lines() == [str(number) for number in range(30, 50)]


def test_children_are_stopped_in_order_and_killed_when_they_hang(tmp_path: Path) -> None:
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); signal.pause()"
    child = children.start("stubborn", [sys.executable, "-c", stubborn], os.environ, tmp_path / "stubborn.log")
    while child.last_lines() != ["up"]:
        assert child.process.poll() is None
    children.stop([child], timeout_s=0.2)
    assert child.process.returncode == -9


def test_a_command_that_is_not_there_is_named_in_the_log(tmp_path: Path) -> None:
    child = children.start("absent", [str(tmp_path / "absent")], os.environ, tmp_path / "absent.log")
    assert children.wait_any([child], 10) is child
    assert child.process.returncode == 1
    assert child.last_lines() == [f"{tmp_path / 'absent'}: No such file or directory"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
def test_a_child_dies_with_the_process_that_started_it(tmp_path: Path) -> None:
    log = tmp_path / "orphan.log"
    parent = (
        "import os, pathlib, sys; from hitmesh.tools.dev import children;"
        "waits = 'import signal; print(1, flush=True); signal.pause()';"
        "child = children.start('orphan', [sys.executable, '-c', waits], os.environ, pathlib.Path(sys.argv[1]))\n"
        "while child.last_lines() != ['1']: pass\n"
        "print(child.process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", parent, str(log)], capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    deadline = time.monotonic() + patient(10)
    while is_alive(int(done.stdout)):
        assert time.monotonic() < deadline


def test_a_start_waits_longer_only_if_each_process_that_is_not_ready_recovers() -> None:
    ready, recovers, fails = Causes(""), Causes("the stream recovers its state", recovers=True), Causes("no leader")
    assert only_recover([ready, recovers, recovers])
    assert not only_recover([recovers, fails])
    assert not only_recover([ready])
