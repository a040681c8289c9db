"""Begins a span for each call with a single request, as a child of the caller's span (W3C Trace Context).

Calls with a request stream last for hours, so the collector begins a span for each of their frames instead.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import grpc
from opentelemetry.trace import Span, SpanKind

from hitmesh.runtime.handlers import Behaviour, Handler, with_behaviour
from hitmesh.runtime.telemetry.labels import FAULTS
from hitmesh.runtime.telemetry.trace_context import context_in
from hitmesh.runtime.telemetry.traces import Traces, active

_CONTRACT: Final = "/hitmesh."


class CallTracer(grpc.ServerInterceptor):
    """Begins spans for the calls of RPC methods of the contract that take a single request message."""

    def __init__(self, traces: Traces) -> None:
        self._traces = traces

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Handler | None], details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """Return a handler that records the call, or the unchanged handler if the call is not recorded."""
        handler = continuation(details)
        if handler is None or handler.request_streaming or not details.method.startswith(_CONTRACT):
            return handler
        method = details.method.removeprefix("/")
        span = self._traces.begin(
            method,
            SpanKind.SERVER,
            context_in(details.invocation_metadata),
            {"rpc.system.name": "grpc", "rpc.method": method},
        )
        if span is None:
            return handler
        traced = self._traced_stream if handler.response_streaming else self._traced
        return with_behaviour(handler, partial(traced, span))

    def _traced(self, span: Span, behaviour: Behaviour) -> Behaviour:
        @functools.wraps(behaviour)  # `wraps` copies the attributes that gRPC reads
        def traced(request: Any, context: grpc.ServicerContext) -> Any:
            with active(self._traces, span, lambda error: _is_fault(context)):
                try:
                    return behaviour(request, context)
                finally:
                    _note_status(span, context)

        return traced

    def _traced_stream(self, span: Span, behaviour: Behaviour) -> Behaviour:
        @functools.wraps(behaviour)
        def traced(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            with active(self._traces, span, lambda error: _is_fault(context)):
                try:
                    yield from behaviour(request, context)
                finally:
                    _note_status(span, context)

        return traced


def _code(context: grpc.ServicerContext) -> grpc.StatusCode | None:
    code = context.code()  # type: ignore[attr-defined]  # exists, but the stubs lack it
    return code if isinstance(code, grpc.StatusCode) else None


def _is_fault(context: grpc.ServicerContext) -> bool:
    """Return whether the mesh is the cause of a call's error. gRPC answers UNKNOWN to an error without a status."""
    code = _code(context)
    return code is None or code.name in FAULTS


def _note_status(span: Span, context: grpc.ServicerContext) -> None:
    code = _code(context)
    if code is not None:
        span.set_attribute("rpc.response.status_code", code.name)
