"""Run a real Envoy in front of services in this process, and send requests to it."""

from __future__ import annotations

import http.client
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from collector.classify import Classifier
from hitmesh.access.token_callers import IssuerTokens, open_reader
from hitmesh.model.sites import SiteDay
from hitmesh.runtime.call_limits import CallPool
from hitmesh.runtime.clock import SystemClock
from hitmesh.runtime.token_settings import TokenSettings
from hitmesh.tools.dev import children, tcp_ports
from hitmesh.tools.dev.children import Child
from hitmesh.tools.dev.door_limits import DoorLimits
from hitmesh.tools.dev.envoy import Address, Door, binary, open_paths, render
from hitmesh.tools.dev.envoy_tokens import TokenDoor, WatchedKeys
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


def a_reader(tokens: TokenDoor) -> IssuerTokens:
    """Return the reader of a service with the settings for these tokens."""
    settings = {"store": "memory:", **{name.lower(): value for name, value in tokens.settings().items()}}
    return open_reader(TokenSettings.model_validate(settings), SystemClock())


@contextmanager
def envoy_at(door: Door, run: Path) -> Iterator[Child]:
    """Run an Envoy with these addresses and limits, which has its files in `run`."""
    config = run / "envoy.yaml"
    config.write_text(render(door), encoding="utf-8")
    command = [str(binary()), "-c", str(config), "--concurrency", "1", "--disable-hot-restart"]
    command += ["--file-flush-interval-msec", "100"]
    envoy = children.start("envoy", command, os.environ, run / "envoy.log", run)
    try:
        eventually(
            lambda: envoy.process.poll() is not None or not tcp_ports.is_free(door.http.port), "Envoy listens", 60
        )
        assert envoy.process.poll() is None, envoy.last_lines()
        yield envoy
        assert envoy.process.poll() is None, envoy.last_lines()
    finally:
        children.stop([envoy])


def running_door(run: Path, tokens: TokenDoor | None = None) -> Iterator[Door]:
    """Run an Envoy that has its files in `run` and accepts MAX_CONNECTIONS connections.

    The site SITE has a settled day. With `tokens`, reads need a key or a token.
    """
    if tokens is not None:
        assert WatchedKeys(tokens, open_paths()).refresh() is not tokens.is_url
    mesh = start(open_reads=tokens is None, tokens=a_reader(tokens) if tokens else None)
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
        limits = DoorLimits(max_connections=MAX_CONNECTIONS)
        door = Door(
            address,
            operators,
            stats,
            collectors,
            reporters,
            processors,
            controls,
            log,
            limits=limits,
            tokens=tokens,
        )
        try:
            with envoy_at(door, run):
                yield door
        finally:
            tracer.stop(None).wait()
    next(mesh, None)
