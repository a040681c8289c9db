"""Serves a process's metrics to Prometheus, and sends metrics and spans with OTLP.

Prometheus reads from the HTTP server of prometheus_client, on a separate address. The path /health has the health of
the process as JSON, and the status 503 while the process is not ready. The names that Prometheus reads are the
registry's names, without labels of the OpenTelemetry library. With OTLP, the names of counters have no `_total`;
collectors add this suffix again for Prometheus. Only composition roots may import this module.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from wsgiref.simple_server import WSGIServer

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
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

    from hitmesh.runtime.config import ServiceSettings
    from hitmesh.runtime.telemetry.otlp import Exporters, Otlp

HEALTH_PATH: Final = "/health"
HealthPage = Callable[[], tuple[bool, bytes]]
"""Returns whether the process is ready, and the health as JSON."""


@dataclass(frozen=True)
class Telemetry:
    """A process's metrics and spans, and the host:port that serves the metrics; "" if the metrics are not served."""

    metrics: Metrics
    address: str = ""
    _provider: MeterProvider | None = field(default=None, repr=False)
    _exporters: Exporters | None = field(default=None, repr=False)
    _served: tuple[WSGIServer, threading.Thread] | None = field(default=None, repr=False)

    def close(self) -> None:
        """Send the last spans and metrics within a deadline, stop the listener and release the port.

        A second call changes nothing.
        """
        if self._exporters is not None and self._provider is not None:
            self._exporters.close(self._provider)
        if self._served is not None:
            server, thread = self._served
            if thread.is_alive():
                server.shutdown()
                thread.join()
            server.server_close()


def telemetry_of(part: Part, settings: ServiceSettings, health: HealthPage | None = None) -> Telemetry:
    """Return the telemetry of a service with these settings.

    Raises:
        RefusedError: the address for Prometheus cannot be bound (INVALID_CONFIG).
    """
    if not settings.otlp_endpoint:
        return open_telemetry(part, settings.metrics_listen, health)
    from hitmesh.runtime.telemetry.otlp import Otlp

    otlp = Otlp(settings.otlp_endpoint, settings.node, settings.otlp_metrics_s, settings.trace_ratio, settings.traces_s)
    return open_telemetry(part, settings.metrics_listen, health, otlp)


def open_telemetry(part: Part, listen: str, health: HealthPage | None = None, otlp: Otlp | None = None) -> Telemetry:
    """Return a process's metrics and spans. Send both with `otlp`.

    The metrics and the process's health are served on `listen` (host:port). If `listen` is "" and `otlp` is None,
    nothing is recorded.

    Raises:
        RefusedError: the address cannot be bound (INVALID_CONFIG).
    """
    if not listen and otlp is None:
        return Telemetry(unmeasured())
    registry, exporters = InTurn(), None
    readers: list[MetricReader] = []
    if listen:
        readers.append(PrometheusMetricReader(disable_target_info=True, scope_info_enabled=False, registry=registry))
    if otlp is not None:
        from hitmesh.runtime.telemetry.otlp import Exporters

        exporters = Exporters(part, otlp)
        readers.append(exporters.reader)
    provider = MeterProvider(
        readers,
        resource=exporters.resource if exporters else Resource.get_empty(),
        exemplar_filter=AlwaysOffExemplarFilter(),
        shutdown_on_exit=False,
    )
    metrics = Metrics(provider.get_meter(METER), exporters.traces if exporters else None)
    metrics.start_counters(f"hitmesh_{part}_")
    observe_process(metrics, part)
    if not listen:
        return Telemetry(metrics, "", provider, exporters)
    host, served = _serve(listen, registry, health)
    return Telemetry(metrics, f"{host}:{served[0].server_address[1]}", provider, exporters, served)


def _serve(
    listen: str, registry: CollectorRegistry, health: HealthPage | None
) -> tuple[str, tuple[WSGIServer, threading.Thread]]:
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
    return host, (server, thread)


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
