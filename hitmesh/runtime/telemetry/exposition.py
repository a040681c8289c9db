"""Serves a process's metrics to Prometheus, with the HTTP server of prometheus_client on a separate address.

The path /health has the health of the process as JSON, and the status 503 while the process is not ready.

The exported names are the registry's names, without labels of the OpenTelemetry library. Only composition roots may
import this module.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from wsgiref.simple_server import WSGIServer

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry, make_wsgi_app, start_http_server
from prometheus_client.metrics_core import Metric

from hitmesh.model.errors import RefusedError
from hitmesh.model.reasons import LocalReason
from hitmesh.runtime.telemetry.labels import Part
from hitmesh.runtime.telemetry.metrics import METER, Metrics, unmeasured
from hitmesh.runtime.telemetry.process import observe_process

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

HEALTH_PATH: Final = "/health"
HealthPage = Callable[[], tuple[bool, bytes]]
"""Returns whether the process is ready, and the health as JSON."""


@dataclass(frozen=True)
class Telemetry:
    """A process's metrics, and the host:port that serves them. The host:port is "" if the metrics are not served."""

    metrics: Metrics
    address: str = ""
    _served: tuple[WSGIServer, threading.Thread] | None = field(default=None, repr=False)

    def close(self) -> None:
        """Stop the listener and release the port. A second call changes nothing."""
        if self._served is not None:
            server, thread = self._served
            if thread.is_alive():
                server.shutdown()
                thread.join()
            server.server_close()


def open_telemetry(part: Part, listen: str, health: HealthPage | None = None) -> Telemetry:
    """Return a process's metrics, and serve them and the process's health on `listen` (host:port).

    If `listen` is "", the metrics are neither recorded nor served.

    Raises:
        RefusedError: the address cannot be bound (INVALID_CONFIG).
    """
    if not listen:
        return Telemetry(unmeasured())
    registry = InTurn()
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
        server, thread = start_http_server(int(port), host, registry)
    except (OSError, ValueError, OverflowError) as error:
        raise RefusedError(
            f"metrics cannot be served on {listen!r} ({error}): use a free host:port",
            field="metrics_listen",
            reason=LocalReason.INVALID_CONFIG,
        ) from error
    if health is not None:
        server.set_app(_with_health(make_wsgi_app(registry), health))
    thread.name = "metrics"
    return Telemetry(metrics, f"{host}:{server.server_address[1]}", (server, thread))


def _with_health(metrics: WSGIApplication, health: HealthPage) -> WSGIApplication:
    """Return an application that answers /health itself, so that a slow answer with metrics delays no health."""

    def answer(environment: WSGIEnvironment, respond: StartResponse) -> Iterable[bytes]:
        if environment.get("PATH_INFO") != HEALTH_PATH:
            return metrics(environment, respond)
        is_ready, body = health()
        respond("200 OK" if is_ready else "503 Service Unavailable", [("Content-Type", "application/json")])
        return [body]

    return answer


class InTurn(CollectorRegistry):
    """A registry that serves concurrent requests one after another.

    The HTTP server has a thread per request, but OpenTelemetry's reader supports only one request at a time. With two
    concurrent requests, one may get all values twice, and the other may get no values.
    """

    def __init__(self) -> None:
        super().__init__()
        self._turn = threading.Lock()

    def collect(self) -> Iterable[Metric]:
        """Return all metrics with their samples."""
        with self._turn:
            return list(super().collect())
