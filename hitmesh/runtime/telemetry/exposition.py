"""Serves a process's metrics to Prometheus, with the HTTP server of prometheus_client on a separate address.

The exported names are the registry's names, without labels of the OpenTelemetry library. Only composition roots may
import this module.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from wsgiref.simple_server import WSGIServer

from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.metrics_core import Metric

from hitmesh.model.errors import RefusedError
from hitmesh.model.reasons import LocalReason
from hitmesh.runtime.telemetry.labels import Part
from hitmesh.runtime.telemetry.metrics import METER, Metrics, unmeasured
from hitmesh.runtime.telemetry.process import observe_process


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


def open_telemetry(part: Part, listen: str) -> Telemetry:
    """Return a process's metrics, and serve them on `listen` (host:port).

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
    thread.name = "metrics"
    return Telemetry(metrics, f"{host}:{server.server_address[1]}", (server, thread))


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
