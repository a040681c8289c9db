"""An OTLP receiver: the gRPC services of an OpenTelemetry Collector, which keep what arrives."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from hitmesh.tools.dev.tcp_ports import HOST


@dataclass(frozen=True)
class SentSpan:
    """A span that arrived. Ids are hexadecimal; `parent` is "" for the first span of a trace."""

    service: str
    node: str
    name: str
    trace: str
    span: str
    parent: str
    links: tuple[tuple[str, str], ...]
    attributes: dict[str, Any] = field(hash=False)


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in pairs}


class OtlpReceiver(trace_service_pb2_grpc.TraceServiceServicer, metrics_service_pb2_grpc.MetricsServiceServicer):
    """Receives spans and metrics on a free port, in a `with` statement."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: list[SentSpan] = []
        self._metrics: dict[str, set[str]] = {}
        self._server = grpc.server(ThreadPoolExecutor(4))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]  # generated
        metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(self, self._server)  # type: ignore[no-untyped-call]  # generated
        self.port = self._server.add_insecure_port(f"{HOST}:0")

    def __enter__(self) -> OtlpReceiver:
        self._server.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.stop(None).wait()

    @property
    def spans(self) -> list[SentSpan]:
        """All spans that have arrived."""
        with self._lock:
            return list(self._spans)

    def metrics(self, service: str) -> set[str]:
        """Return the names of the metrics that a service has sent."""
        with self._lock:
            return set(self._metrics.get(service, ()))

    def Export(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802 - the name of the RPC
        """Take spans or metrics. Both services have a method with this name."""
        with self._lock:
            if isinstance(request, trace_service_pb2.ExportTraceServiceRequest):
                self._take_spans(request)
                return trace_service_pb2.ExportTraceServiceResponse()
            for resource in request.resource_metrics:
                service = _attributes(resource.resource.attributes)["service.name"]
                names = {metric.name for scope in resource.scope_metrics for metric in scope.metrics}
                self._metrics.setdefault(service, set()).update(names)
            return metrics_service_pb2.ExportMetricsServiceResponse()

    def _take_spans(self, request: trace_service_pb2.ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            of_process = _attributes(resource.resource.attributes)
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self._spans.append(
                        SentSpan(
                            of_process["service.name"],
                            of_process.get("service.instance.id", ""),
                            span.name,
                            span.trace_id.hex(),
                            span.span_id.hex(),
                            span.parent_span_id.hex(),
                            tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
                            _attributes(span.attributes),
                        )
                    )
