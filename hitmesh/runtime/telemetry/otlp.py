"""Sends spans and metrics to an OpenTelemetry Collector, with OTLP over gRPC.

Spans wait in a bounded queue. While the collector is away, the oldest spans are lost, and no call waits. Only
`exposition` imports this module, because the exporter's modules are slow to import.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from dataclasses import dataclass
from typing import Final

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from hitmesh import __version__
from hitmesh.runtime.logs import logger
from hitmesh.runtime.telemetry.labels import Part
from hitmesh.runtime.telemetry.metrics import METER
from hitmesh.runtime.telemetry.traces import MAX_LINKS, Traces

QUEUED_SPANS: Final = 4_096
EXPORT_WITHIN_S: Final = 5.0
CLOSE_WITHIN_S: Final = 2.0
"""Maximum time for the last spans and metrics at the end of the process."""
_SPANS_EVERY_S: Final = 1.0
_MAX_TEXT: Final = 256


@dataclass(frozen=True, slots=True)
class Otlp:
    """Where a process sends its telemetry.

    Attributes:
        endpoint: URL of the collector, such as http://127.0.0.1:4317; https for TLS.
        node: name of this process.
        metrics_s: seconds between two exports of the metrics.
        trace_ratio: the share of traces without a parent that are recorded.
        traces_s: maximum number of traces per second that are recorded.
    """

    endpoint: str
    node: str
    metrics_s: float
    trace_ratio: float
    traces_s: float


class Exporters:
    """The exporters of a process."""

    def __init__(self, part: Part, otlp: Otlp) -> None:
        _log_library()
        self.resource = resource_of(part, otlp.node)
        self.reader: MetricReader = PeriodicExportingMetricReader(
            OTLPMetricExporter(endpoint=otlp.endpoint, timeout=EXPORT_WITHIN_S),
            export_interval_millis=otlp.metrics_s * 1_000,
            export_timeout_millis=EXPORT_WITHIN_S * 1_000,
        )
        self._tracers = TracerProvider(
            ALWAYS_ON,  # `Traces` has decided before a span begins
            self.resource,
            shutdown_on_exit=False,
            span_limits=SpanLimits(max_attribute_length=_MAX_TEXT, max_links=MAX_LINKS),
        )
        self._tracers.add_span_processor(
            BatchSpanProcessor(
                OTLPSpanExporter(endpoint=otlp.endpoint, timeout=EXPORT_WITHIN_S),
                max_queue_size=QUEUED_SPANS,
                schedule_delay_millis=_SPANS_EVERY_S * 1_000,
                max_export_batch_size=512,
            )
        )
        self._is_closed = False
        self.traces = Traces(self._tracers.get_tracer(METER), otlp.trace_ratio, otlp.traces_s)

    def close(self, meters: MeterProvider, within_s: float = CLOSE_WITHIN_S) -> None:
        """Send the last spans and metrics, for at most `within_s`. A second call changes nothing.

        The threads that still send then end with the process.
        """
        if self._is_closed:
            return
        self._is_closed = True
        threads = [
            threading.Thread(target=shutdown, name="telemetry-shutdown", daemon=True)
            for shutdown in (self._tracers.shutdown, meters.shutdown)
        ]
        ends_s = time.monotonic() + within_s
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, ends_s - time.monotonic()))


def resource_of(part: Part, node: str) -> Resource:
    """Return the attributes by which the collector tells the processes apart."""
    return Resource(
        {
            "service.namespace": "hitmesh",
            "service.name": f"hitmesh-{part}",
            "service.instance.id": node,
            "service.version": __version__,
        }
    )


class LibraryLines(logging.Handler):
    """Writes the library's warnings as log lines, whose rate is limited (hitmesh.runtime.log_lines).

    No error reaches the library's caller.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line; raise no error."""
        # The library also logs in the thread that ends a span, whose work must go on.
        with contextlib.suppress(Exception):
            logger().warning("telemetry_not_exported", source=record.name, message=record.getMessage()[:_MAX_TEXT])


def _log_library() -> None:
    library = logging.getLogger("opentelemetry")
    library.propagate = False
    if not any(isinstance(handler, LibraryLines) for handler in library.handlers):
        library.addHandler(LibraryLines(logging.WARNING))
