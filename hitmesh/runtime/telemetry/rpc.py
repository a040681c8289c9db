"""Measures the handler time and final status of RPCs that have a single request.

The interceptor only measures; it never changes or rejects a call. The interceptor records a value per call, never per
hit. A call with a response stream is measured until its last response is sent. Calls with a request stream last for
hours and have their own metrics (open streams, ack latency). Health checks and reflection are not measured.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import grpc

from hitmesh.runtime.handlers import Behaviour, Handler, with_behaviour
from hitmesh.runtime.telemetry.labels import StatusCode
from hitmesh.runtime.telemetry.metrics import Metrics
from hitmesh.runtime.telemetry.registry import RPC_SECONDS

_CONTRACT = "/hitmesh."


class CallMeter(grpc.ServerInterceptor):
    """Measures the calls of RPC methods that take a single request message.

    An unknown method has no handler and is not measured. The label `rpc_method` therefore has only methods of the
    contract as values.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Handler | None], details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """Return a handler that measures calls, or the unchanged handler.

        The handler stays unchanged if the method is not part of hitmesh's contract, or has a request stream.
        """
        handler = continuation(details)
        if handler is None or handler.request_streaming or not details.method.startswith(_CONTRACT):
            return handler
        measured = self._measured_stream if handler.response_streaming else self._measured
        return with_behaviour(handler, partial(measured, details.method.removeprefix("/")))

    def _measured(self, method: str, behaviour: Behaviour) -> Behaviour:
        @functools.wraps(behaviour)  # `wraps` copies the attributes that gRPC reads
        def measured(request: Any, context: grpc.ServicerContext) -> Any:
            with self._measuring(method, context):
                return behaviour(request, context)

        return measured

    def _measured_stream(self, method: str, behaviour: Behaviour) -> Behaviour:
        @functools.wraps(behaviour)
        def measured(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            with self._measuring(method, context):
                yield from behaviour(request, context)

        return measured

    @contextmanager
    def _measuring(self, method: str, context: grpc.ServicerContext) -> Iterator[None]:
        began = time.perf_counter()
        ended = StatusCode.UNKNOWN  # gRPC's status when a handler raises an error without a status
        try:
            yield
            ended = StatusCode.OK
        except GeneratorExit:  # the caller cancelled the call before the last response
            ended = StatusCode.CANCELLED
            raise
        finally:
            took_s = time.perf_counter() - began
            code = context.code()  # type: ignore[attr-defined]  # exists, but the stubs lack it
            status = StatusCode(code.name) if isinstance(code, grpc.StatusCode) else ended
            self._metrics.record(RPC_SECONDS, took_s, rpc_method=method, rpc_response_status_code=status)
