"""The reporter's gRPC services: each method identifies the caller, calls reporter.rpc and translates errors.

`build_server` adds both services to a synchronous server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

import grpc
from google.api import httpbody_pb2
from google.protobuf.message import Message

from hitmesh.access.callers import Caller
from hitmesh.access.calls import Call, Calls
from hitmesh.api.reporter.v1 import export_pb2, export_pb2_grpc, reporter_pb2, reporter_pb2_grpc
from hitmesh.model.checkpoints import Checkpoint
from hitmesh.model.days import iso_instant
from hitmesh.model.names import merchant_in
from hitmesh.runtime.call_limits import CallPool, in_pool
from hitmesh.runtime.known_callers import KnownCallers
from hitmesh.runtime.lifecycle import new_server
from hitmesh.runtime.rpc_errors import translating_stream
from hitmesh.runtime.telemetry import Metrics, unmeasured
from hitmesh.runtime.telemetry.registry import REPORTER_FRESHNESS_SECONDS, REPORTER_ROWS, REPORTER_STORE_ERRORS
from hitmesh.runtime.tls import ServerTls
from reporter.answer.lanes import Lanes
from reporter.rpc.backend import Backend
from reporter.rpc.explain_report import explain_report
from reporter.rpc.export_report import PIECE_BYTES, export_report
from reporter.rpc.get_freshness import get_freshness
from reporter.rpc.list_dimensions import list_dimensions
from reporter.rpc.list_metrics import list_metrics
from reporter.rpc.messages import MAX_RESPONSE_BYTES
from reporter.rpc.run_report import run_report
from reporter.settings import MAX_CALLS, MAX_CALLS_PER_MERCHANT, MAX_UNKNOWN_CALLS, QUESTION_S, WORKERS

# Names for health checks and reflection.
SERVICES: Final = tuple(
    file.services_by_name[name].full_name
    for file, name in (
        (reporter_pb2.DESCRIPTOR, "ReporterService"),
        (export_pb2.DESCRIPTOR, "ExportService"),
    )
)
COMPLETE_THROUGH: Final = "x-hitmesh-complete-through"
WARNING: Final = "x-hitmesh-warning"
PARTIAL: Final = "x-hitmesh-partial"
# Calls that read no rows have a separate thread pool, so that queued reports do not delay these calls.
QUICK_WORKERS: Final = 8
MAX_QUICK_CALLS: Final = 64
# A client that reads a file slowly holds a thread until Envoy ends the call, so exports have a separate thread pool.
EXPORT_WORKERS: Final = 8
MAX_EXPORTS: Final = 32
MAX_REQUEST_BYTES: Final = 1 << 20

_RequestT = TypeVar("_RequestT", bound=Message)
_ResponseT = TypeVar("_ResponseT", bound=Message)
_AnswerT = TypeVar("_AnswerT")


def build_server(
    backend: Backend,
    workers: int = WORKERS,
    metrics: Metrics | None = None,
    *,
    max_calls: int = MAX_CALLS,
    per_merchant: int = MAX_CALLS_PER_MERCHANT,
    unknown: int = MAX_UNKNOWN_CALLS,
    question_s: float = QUESTION_S,
    export_workers: int = EXPORT_WORKERS,
    max_exports: int = MAX_EXPORTS,
    answer_bytes: int = MAX_RESPONSE_BYTES,
    piece_bytes: int = PIECE_BYTES,
    tls: ServerTls | None = None,
) -> grpc.Server:
    """Return a server with all services; hitmesh.runtime.lifecycle.serve starts the server.

    Args:
        backend: implementations of hitmesh.ports, and settings for the services.
        workers: number of questions that are answered at once; half of the slots are for expensive questions
            (reporter.answer.lanes).
        metrics: meters for calls.
        max_calls: maximum number of calls that run or wait, not counting exports and quick calls (freshness, lists of
            metrics and dimensions). Each call holds a thread, because a waiting question blocks its thread.
        per_merchant: maximum number of calls of a merchant that run or wait; half of `max_exports` for exports.
        unknown: maximum number of calls without a known key or token that run or wait.
        question_s: seconds after which a question is abandoned.
        export_workers: maximum number of exports that run at once.
        max_exports: maximum number of exports that run or wait.
        answer_bytes: maximum size of a RunReport response; larger responses are refused.
        piece_bytes: maximum bytes of a file per message.
        tls: the peers that may call; None without TLS.
    """
    metrics = metrics or unmeasured()
    backend = replace(backend, lanes=Lanes(workers))
    callers = KnownCallers(open_reads=backend.open_reads)
    pool = CallPool(max(workers, max_calls), per_merchant=per_merchant, unknown=unknown)
    server, _ = new_server(pool, metrics, max_request_bytes=MAX_REQUEST_BYTES, callers=callers, tls=tls)
    reports = ReporterService(backend, metrics, question_s, answer_bytes, callers)
    quick_pool = CallPool(QUICK_WORKERS, MAX_QUICK_CALLS, name="quick", per_merchant=per_merchant, unknown=unknown)
    for name in ("GetFreshness", "ListMetrics", "ListDimensions"):
        setattr(reports, name, in_pool(quick_pool, getattr(reports, name)))  # gRPC reads the function's pool attribute
    reporter_pb2_grpc.add_ReporterServiceServicer_to_server(reports, server)
    exports = ExportService(backend, metrics, question_s, piece_bytes, callers)
    share = max(1, max_exports // 2)
    export_pool = CallPool(export_workers, max_exports, name="exports", per_merchant=share, unknown=unknown)
    exports.ExportReport = in_pool(export_pool, exports.ExportReport)  # type: ignore[method-assign]  # gRPC reads the function's pool attribute
    export_pb2_grpc.add_ExportServiceServicer_to_server(exports, server)
    return server


class _Shell:
    """Runs a function on behalf of the caller. hitmesh.access.calls has authorised the caller before."""

    def __init__(
        self,
        backend: Backend,
        metrics: Metrics | None = None,
        max_s: float = QUESTION_S,
        callers: KnownCallers | None = None,
    ) -> None:
        self._backend = backend
        self._metrics = metrics or unmeasured()
        self._calls = Calls(
            backend.directory,
            self._metrics,
            REPORTER_STORE_ERRORS,
            max_s,
            open_reads=backend.open_reads,
            tokens=backend.tokens,
            clock=backend.clock,
            callers=callers,
        )

    def _answered(self, rows: int, lag_ms: int | None) -> None:
        self._metrics.add(REPORTER_ROWS, rows)
        if lag_ms is not None:
            self._metrics.record(REPORTER_FRESHNESS_SECONDS, lag_ms / 1_000)

    def _quota_headers(self, site: str) -> tuple[tuple[str, str], ...]:
        return self._backend.budget.headers(merchant_in(site))

    def _run(
        self,
        function: Callable[[Backend, Caller | None, _RequestT], _ResponseT],
        request: _RequestT,
        context: grpc.ServicerContext,
    ) -> _ResponseT:
        return self._calls.run(self._on_behalf(function, request), request, context)

    def _call(
        self,
        function: Callable[[Backend, Caller | None, _RequestT], _AnswerT],
        request: _RequestT,
        context: grpc.ServicerContext,
    ) -> _AnswerT:
        return self._calls.answer(self._on_behalf(function, request), request, context)

    def _on_behalf(
        self, function: Callable[[Backend, Caller | None, _RequestT], _AnswerT], request: _RequestT
    ) -> Call[_AnswerT]:
        def answer(caller: Caller | None, checkpoint: Checkpoint) -> _AnswerT:
            return function(replace(self._backend, checkpoint=checkpoint), caller, request)

        return answer


class ReporterService(_Shell, reporter_pb2_grpc.ReporterServiceServicer):
    """Answers questions about metrics with protobuf messages."""

    def __init__(
        self,
        backend: Backend,
        metrics: Metrics | None = None,
        max_s: float = QUESTION_S,
        answer_bytes: int = MAX_RESPONSE_BYTES,
        callers: KnownCallers | None = None,
    ) -> None:
        super().__init__(backend, metrics, max_s, callers)
        self._run_report = partial(run_report, max_bytes=answer_bytes)

    def RunReport(
        self, request: reporter_pb2.RunReportRequest, context: grpc.ServicerContext
    ) -> reporter_pb2.RunReportResponse:
        """Run a report."""
        response = self._run(self._run_report, request, context)
        reached = response.meta.freshness
        self._answered(response.meta.cost.rows, reached.lag.ToMilliseconds() if reached.HasField("lag") else None)
        _describe(context, reached.complete_through.ToMilliseconds(), self._quota_headers(request.site))
        return response

    def ExplainReport(
        self, request: reporter_pb2.ExplainReportRequest, context: grpc.ServicerContext
    ) -> reporter_pb2.ExplainReportResponse:
        """Explain how a report would be answered."""
        return self._run(explain_report, request, context)

    def ListMetrics(
        self, request: reporter_pb2.ListMetricsRequest, context: grpc.ServicerContext
    ) -> reporter_pb2.ListMetricsResponse:
        """List the metrics."""
        return list_metrics()

    def ListDimensions(
        self, request: reporter_pb2.ListDimensionsRequest, context: grpc.ServicerContext
    ) -> reporter_pb2.ListDimensionsResponse:
        """List the dimensions."""
        return list_dimensions()

    def GetFreshness(
        self, request: reporter_pb2.GetFreshnessRequest, context: grpc.ServicerContext
    ) -> reporter_pb2.GetFreshnessResponse:
        """Return the freshness of a site's numbers."""
        return self._run(get_freshness, request, context)


class ExportService(_Shell, export_pb2_grpc.ExportServiceServicer):
    """Answers questions about metrics with CSV, JSON or NDJSON files."""

    def __init__(
        self,
        backend: Backend,
        metrics: Metrics | None = None,
        max_s: float = QUESTION_S,
        piece_bytes: int = PIECE_BYTES,
        callers: KnownCallers | None = None,
    ) -> None:
        super().__init__(backend, metrics, max_s, callers)
        self._piece_bytes = piece_bytes

    def ExportReport(
        self, request: export_pb2.ExportReportRequest, context: grpc.ServicerContext
    ) -> Iterator[httpbody_pb2.HttpBody]:
        """Run a report and stream the result as a file."""
        return translating_stream(self._export)(request, context)

    def _export(
        self, request: export_pb2.ExportReportRequest, context: grpc.ServicerContext
    ) -> Iterator[httpbody_pb2.HttpBody]:
        file = self._call(export_report, request, context)
        reached = file.answer.freshness
        self._answered(file.answer.store_rows, reached.lag_ms)
        headers = self._quota_headers(request.site)
        _describe(context, reached.complete_through, headers, file.answer.warnings, file.cut_buckets)
        yield from file.pieces(self._piece_bytes)


def _describe(
    context: grpc.ServicerContext,
    complete_through: int,
    headers: Sequence[tuple[str, str]],
    warnings: Sequence[str] = (),
    cut_buckets: Sequence[str] = (),
) -> None:
    # Metadata must be ASCII. All warnings should be ASCII.
    texts = [warning.encode("ascii", "backslashreplace").decode() for warning in warnings]
    context.send_initial_metadata(
        (
            (COMPLETE_THROUGH, iso_instant(complete_through)),
            *headers,
            *((WARNING, text) for text in texts),
            *([(PARTIAL, ",".join(cut_buckets))] if cut_buckets else []),
        )
    )
