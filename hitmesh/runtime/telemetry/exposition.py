"""Serves a process's metrics to Prometheus: GET /metrics on its own address, one thread, one request at a time.

Decides how OpenTelemetry exports the numbers: under exactly the registry's names, without library labels. For
composition roots only.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer
from typing import Any, Final

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from hitmesh.model.errors import RefusedError
from hitmesh.model.reasons import LocalReason
from hitmesh.runtime.logs import logger
from hitmesh.runtime.telemetry.labels import Part
from hitmesh.runtime.telemetry.metrics import METER, Metrics, unmeasured
from hitmesh.runtime.telemetry.process import observe_process

PATH: Final = "/metrics"
REQUEST_TIMEOUT_S: Final = 5.0
_POLL_S: Final = 0.2


@dataclass(frozen=True)
class Telemetry:
    """A process's metrics, and the host:port that serves them; "" when they are not served."""

    metrics: Metrics
    address: str = ""
    _server: _Server | None = field(default=None, repr=False)

    def close(self) -> None:
        """Stop the listener. A second call changes nothing."""
        if self._server is not None:
            self._server.end()


def open_telemetry(part: Part, listen: str) -> Telemetry:
    """Return a process's metrics and serve them on `listen` (host:port); "" measures nothing.

    Raises:
        RefusedError: the address cannot be bound (INVALID_CONFIG).
    """
    if not listen:
        return Telemetry(unmeasured())
    registry = CollectorRegistry()
    reader = PrometheusMetricReader(disable_target_info=True, scope_info_enabled=False, registry=registry)
    provider = MeterProvider(
        [reader],
        resource=Resource.get_empty(),
        exemplar_filter=AlwaysOffExemplarFilter(),
        shutdown_on_exit=False,
    )
    metrics = Metrics(provider.get_meter(METER))
    metrics.start_counters(f"hitmesh_{part}_")
    observe_process(metrics, part)
    host, _, port = listen.rpartition(":")
    try:
        server = _Server((host, int(port)), registry)
    except (OSError, ValueError, OverflowError) as error:
        raise RefusedError(
            f"metrics cannot be served on {listen!r} ({error}): use a free host:port",
            field="metrics_listen",
            reason=LocalReason.INVALID_CONFIG,
        ) from error
    server.begin()
    return Telemetry(metrics, f"{host}:{server.server_address[1]}", server)


class _Server(TCPServer):
    """Binds on creation. Not http.server.HTTPServer, which looks up the host name when binding."""

    allow_reuse_address = True
    request_queue_size = 8

    def __init__(self, address: tuple[str, int], registry: CollectorRegistry) -> None:
        super().__init__(address, _Handler)
        self.registry = registry
        self._thread = threading.Thread(target=self.serve_forever, args=(_POLL_S,), name="metrics", daemon=True)

    def begin(self) -> None:
        """Start to answer."""
        self._thread.start()

    def end(self) -> None:
        """Stop to answer and release the port."""
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log the failure: a disconnected client is harmless, but a failed collection must be visible."""
        logger().warning("metrics_request_failed", exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    """GET /metrics; everything else is refused, and no body is read."""

    server: _Server
    timeout = REQUEST_TIMEOUT_S
    server_version, sys_version = "hitmesh", ""

    def do_GET(self) -> None:
        """Answer with all metrics as text."""
        if self.path.partition("?")[0] != PATH:
            self.send_error(HTTPStatus.NOT_FOUND, f"this listener serves only {PATH}")
            return
        body = generate_latest(self.server.registry)
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", CONTENT_TYPE_PLAIN_0_0_4)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: scrapes are routine."""
