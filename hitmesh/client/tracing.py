"""Spans of the client: each call begins a span below the application's current span, and sends the trace context.

Nothing happens unless the application has imported and set up OpenTelemetry, so a command that records no traces does
not import the library. A stream's span ends when the stream ends.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import grpc

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

_TRACER: Final = "hitmesh.client"
_PREFIX: Final = "/hitmesh."


class _Details(NamedTuple):
    """The details of a call. gRPC reads these attributes."""

    method: str
    timeout: float | None
    metadata: Sequence[tuple[str, str | bytes]] | None
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: grpc.Compression | None


class CallSpans(
    grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor, grpc.StreamStreamClientInterceptor
):
    """Begins a span for each call of the contract, and passes its context to the mesh.

    Args:
        provider: makes the spans; None means the provider that the application has set for the process.
    """

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._provider = provider

    def intercept_unary_unary(self, continuation: Callable[..., Any], client_call_details: Any, request: Any) -> Any:
        """Make a call with a single response."""
        return _traced(self._provider, continuation, client_call_details, request)

    def intercept_unary_stream(self, continuation: Callable[..., Any], client_call_details: Any, request: Any) -> Any:
        """Make a call with a stream of responses."""
        return _traced(self._provider, continuation, client_call_details, request)

    def intercept_stream_stream(
        self, continuation: Callable[..., Any], client_call_details: Any, request_iterator: Any
    ) -> Any:
        """Make a call with a stream of requests and a stream of responses."""
        return _traced(self._provider, continuation, client_call_details, request_iterator)


def _traced(provider: TracerProvider | None, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
    if "opentelemetry.sdk.trace" not in sys.modules or not details.method.startswith(_PREFIX):
        return continuation(details, request)
    from opentelemetry import trace

    method = details.method.removeprefix("/")
    facts = {"rpc.system.name": "grpc", "rpc.method": method}
    span = trace.get_tracer(_TRACER, tracer_provider=provider).start_span(
        method, kind=trace.SpanKind.CLIENT, attributes=facts
    )
    context = span.get_span_context()
    if not context.is_valid:
        return continuation(details, request)
    ids = f"{trace.format_trace_id(context.trace_id)}-{trace.format_span_id(context.span_id)}"
    # Version 00 defines only the flag "recorded".
    sent = [("traceparent", f"00-{ids}-{context.trace_flags & trace.TraceFlags.SAMPLED:02x}")]
    if context.trace_state:
        sent.append(("tracestate", context.trace_state.to_header()))
    call = continuation(_with(details, sent), request)

    def ended(answer: Any) -> None:
        code = answer.code()
        span.set_attribute("rpc.response.status_code", code.name)
        if code is not grpc.StatusCode.OK:
            span.set_status(trace.StatusCode.ERROR)
        span.end()

    call.add_done_callback(ended)
    return call


def _with(details: Any, sent: Sequence[tuple[str, str]]) -> _Details:
    return _Details(
        details.method,
        details.timeout,
        [*(details.metadata or ()), *sent],
        details.credentials,
        details.wait_for_ready,
        details.compression,
    )
