"""Run a real Envoy in front of services in this process, and send requests to it."""

from __future__ import annotations

import http.client
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc

from collector.classify import Classifier
from hitmesh.model.sites import SiteDay
from hitmesh.runtime.call_limits import CallPool
from hitmesh.tools.dev import children, tcp_ports
from hitmesh.tools.dev.envoy import Address, Door, binary, render
from tests.support.collectors import new_backend, running
from tests.support.published_days import publish_day
from tests.support.rebuilt_days import UTC_DAY
from tests.support.reporters import NOW, served, start
from tests.support.settled_rows import SITE
from tests.support.waiting import eventually

TRACE = "hitmesh.api.control.v1.TraceService"
MAX_CONNECTIONS = 64


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


def ask(at: Address, method: str, path: str, body: bytes | Iterator[bytes] | None = None, /, **headers: str) -> Answer:
    connection = http.client.HTTPConnection(at.host, at.port, timeout=20)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, named)
        answer = connection.getresponse()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def spoken(at: Address, request: bytes) -> bytes:
    """Send the bytes to Envoy, and return Envoy's whole answer. The answer ends when Envoy closes the connection."""
    with socket.create_connection((at.host, at.port), timeout=20) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65_536), b""))


def running_door(run: Path) -> Iterator[Door]:
    """Run an Envoy that has its files in `run` and accepts MAX_CONNECTIONS connections.

    The site SITE has a settled day.
    """
    mesh = start(open_reads=True)
    reporter = next(mesh)
    publish_day(reporter.stores.generations, SiteDay(SITE, UTC_DAY - 16), NOW)
    with running(new_backend(Classifier())) as collector:
        address, operators, stats = (Address(tcp_ports.HOST, port) for port in tcp_ports.any_free(3))
        collectors, reporters, controls = (
            (Address(tcp_ports.HOST, port),) for port in (collector.port, reporter.port, reporter.control_port)
        )
        tracer = grpc.server(CallPool(2))
        processors = (Address(tcp_ports.HOST, served(tracer, [TRACE])),)
        log = run / "access.jsonl"
        door = Door(
            address,
            operators,
            stats,
            collectors,
            reporters,
            processors,
            controls,
            log,
            max_connections=MAX_CONNECTIONS,
        )
        config = run / "envoy.yaml"
        config.write_text(render(door), encoding="utf-8")
        command = [str(binary()), "-c", str(config), "--concurrency", "1", "--use-dynamic-base-id"]
        command += ["--file-flush-interval-msec", "100"]
        envoy = children.start("envoy", command, os.environ, run / "envoy.log", run)
        try:
            eventually(
                lambda: envoy.process.poll() is not None or not tcp_ports.is_free(address.port), "Envoy listens", 60
            )
            assert envoy.process.poll() is None, envoy.last_lines()
            yield door
            assert envoy.process.poll() is None, envoy.last_lines()
        finally:
            children.stop([envoy])
            tracer.stop(None).wait()
    next(mesh, None)
