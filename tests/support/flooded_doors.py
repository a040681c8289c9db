"""A real Envoy with small limits, in front of a small service that answers with as many bytes as a test needs."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import psutil
from google.api import httpbody_pb2

from hitmesh.api.reporter.v1 import export_pb2, reporter_pb2
from hitmesh.runtime.call_limits import CallPool
from hitmesh.tools.dev import tcp_ports
from hitmesh.tools.dev.door_limits import DoorLimits
from hitmesh.tools.dev.envoy import Address, Door
from tests.support.doors import ask, envoy_at
from tests.support.patience import patient
from tests.support.reporters import served
from tests.support.waiting import eventually

COLLECTOR = "hitmesh.api.collector.v1.CollectorService"
REPORTER = "hitmesh.api.reporter.v1.ReporterService"
EXPORTS = "hitmesh.api.reporter.v1.ExportService"
CONTROL = "hitmesh.api.control.v1.AdminService"
STREAM_HITS = f"/{COLLECTOR}/StreamHits"
MIB = 1 << 20

# Envoy's limits, at their smallest. Tests read these numbers, so that no number is written twice.
SMALL = DoorLimits(
    max_heap_bytes=256 * MIB,
    max_connections=300,
    requests_per_s=10,
    burst_requests=400,
    headers_timeout_s=1,
    request_timeout_s=1,
    stream_idle_timeout_s=30,
    idle_timeout_s=2,
    flush_timeout_s=1,
    report_timeout_s=4,
    max_collector_requests=40,
)
# Calls that the small service can run at the same time: more than a test opens.
WORKERS = 100
# Stat of the connections that Envoy closed.
CUT_OFF = "http.door.downstream_cx_destroy_local"
# Stat of the streams that Envoy stopped reading, because a client reads too slowly.
STALLED = "cluster.reporter.upstream_flow_control_paused_reading_total"


@dataclass(frozen=True)
class FloodedDoor:
    """A running Envoy that a test may flood."""

    door: Door
    pid: int

    @property
    def http(self) -> Address:
        return self.door.http

    def memory(self) -> int:
        """Return the resident memory of Envoy in bytes."""
        return int(psutil.Process(self.pid).memory_info().rss)

    def peak(self) -> int:
        """Return the highest resident memory of Envoy, in bytes, since `forget_peak`."""
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        kib = re.search(r"VmHWM:\s*(\d+) kB", status)
        assert kib
        return int(kib[1]) << 10

    def forget_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5", encoding="ascii")

    def stat(self, name: str) -> int:
        """Return the sum of Envoy's counters and gauges whose names end with `name`."""
        text = ask(self.door.stats, "GET", f"/stats?filter={re.escape(name)}$").body.decode()
        return sum(int(line.rpartition(": ")[2]) for line in text.splitlines())

    def reaches(self, name: str, value: int) -> None:
        """Wait until a counter has at least this value."""
        eventually(lambda: self.stat(name) >= value, f"{name} reaches {value}")

    def serves_others(self) -> None:
        """Assert that Envoy answers another client, on a new connection."""
        answer = ask(self.http, "GET", "/v1/metrics")
        assert (answer.status, b"metrics" in answer.body) == (200, True), answer

    @contextlib.contextmanager
    def bounded(self, extra_bytes: int) -> Iterator[None]:
        """Assert that Envoy's memory never grows by more than `extra_bytes` inside the block."""
        self.forget_peak()
        before = self.memory()
        yield
        assert self.peak() - before <= extra_bytes, f"{(self.peak() - before) / MIB:.0f} MiB more"


REPORT = "/v1/merchants/demo/sites/shop:runReport"


def export(mib: int) -> str:
    """Return the path of an export with this size."""
    return f"/v1/merchants/demo/sites/shop:export?metrics=hits&last=1d&format=csv&limit={mib}"


def question(kib: int) -> bytes:
    """Return the body of a report (path REPORT) whose answer has about this size."""
    return b'{"metrics":["hits"],"timeRange":{"lastDays":1},"limit":%d}' % kib


def get(path: str, *headers: str) -> bytes:
    return "\r\n".join((f"GET {path} HTTP/1.1", "host: localhost", *headers, "", "")).encode()


def post(path: str, body: bytes, size: int | None = None, *headers: str) -> bytes:
    """Return a request whose body should have `size` bytes; None means the size of the body."""
    required = ("host: localhost", "content-type: application/json", f"content-length: {size or len(body)}")
    return "\r\n".join((f"POST {path} HTTP/1.1", *required, *headers, "", "")).encode() + body


def slow_reader(at: Address, sent: bytes) -> socket.socket:
    """Return a connection that has sent a request and read only the first byte of the answer."""
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    reader.settimeout(patient(20))
    reader.connect((at.host, at.port))
    reader.sendall(sent)
    assert reader.recv(1) == b"H"
    return reader


def rest_of(reader: socket.socket) -> bytes:
    """Return all bytes that arrive until the peer closes the connection."""
    rest = bytearray()
    with contextlib.suppress(ConnectionError):
        while part := reader.recv(65_536):
            rest += part
    return bytes(rest)


def answers(at: Address, sent: bytes) -> bytes:
    """Return all that the peer sends until it closes the connection."""
    with socket.create_connection((at.host, at.port), timeout=patient(20)) as connection:
        connection.sendall(sent)
        return rest_of(connection)


class _SmallService(grpc.GenericRpcHandler):
    """Answer an export with `limit` MiB, a report with `limit` rows, and each message of a stream with a message."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        return _METHODS.get(handler_call_details.method)


def _report(wanted: reporter_pb2.RunReportRequest, _: grpc.ServicerContext) -> bytes:
    rows = [reporter_pb2.Row(dimension_values=["x" * 1_000])] * wanted.limit
    return reporter_pb2.RunReportResponse(rows=rows).SerializeToString()


def _export(wanted: export_pb2.ExportReportRequest, _: grpc.ServicerContext) -> Iterator[bytes]:
    piece = httpbody_pb2.HttpBody(content_type="text/csv", data=b"x" * MIB).SerializeToString()
    return itertools.repeat(piece, wanted.limit)


def _echo(messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
    context.send_initial_metadata(())
    yield from messages


_METHODS: Mapping[str, grpc.RpcMethodHandler[Any, Any]] = {
    f"/{REPORTER}/ListMetrics": grpc.unary_unary_rpc_method_handler(lambda *_: b""),
    f"/{REPORTER}/RunReport": grpc.unary_unary_rpc_method_handler(_report, reporter_pb2.RunReportRequest.FromString),
    f"/{EXPORTS}/ExportReport": grpc.unary_stream_rpc_method_handler(
        _export, export_pb2.ExportReportRequest.FromString
    ),
    STREAM_HITS: grpc.stream_stream_rpc_method_handler(_echo),
}


def flooded_door(run: Path, limits: DoorLimits = SMALL) -> Iterator[FloodedDoor]:
    """Run an Envoy with these limits and its files in `run`, in front of the small service."""
    server = grpc.server(CallPool(WORKERS), handlers=[_SmallService()])
    at = (Address(tcp_ports.HOST, served(server, [COLLECTOR, REPORTER, CONTROL])),)
    http, operators, stats = (Address(tcp_ports.HOST, port) for port in tcp_ports.any_free(3))
    door = Door(http, operators, stats, at, at, at, at, run / "access.jsonl", limits=limits)
    try:
        with envoy_at(door, run) as envoy:
            eventually(lambda: ask(http, "GET", "/v1/metrics").status == 200, "Envoy serves", 60)
            yield FloodedDoor(door, envoy.process.pid)
    finally:
        server.stop(None).wait()
