"""The gRPC shells of the reporter: name the caller, call one function of reporter.rpc, translate errors.

Decides nothing. `build_server` puts the three services on one synchronous server.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import grpc
from google.api import httpbody_pb2
from google.protobuf.message import Message

from hitmesh.admin.v1 import admin_pb2, admin_pb2_grpc
from hitmesh.lifecycle import SERVER_OPTIONS
from hitmesh.ports import IngestKey
from hitmesh.reporter.v1 import export_pb2, export_pb2_grpc, reporter_pb2, reporter_pb2_grpc
from hitmesh.rpc_errors import translating
from reporter.rpc.admin.create_ingest_key import create_ingest_key
from reporter.rpc.admin.create_site import create_site
from reporter.rpc.admin.get_site import get_site
from reporter.rpc.admin.list_sites import list_sites
from reporter.rpc.admin.revoke_ingest_key import revoke_ingest_key
from reporter.rpc.backend import Backend
from reporter.rpc.export_report import export_report
from reporter.rpc.get_freshness import get_freshness
from reporter.rpc.identity import caller_of
from reporter.rpc.list_dimensions import list_dimensions
from reporter.rpc.list_metrics import list_metrics
from reporter.rpc.messages import iso_instant
from reporter.rpc.run_report import run_report

# Names for health checks and reflection.
SERVICES: Final = tuple(
    file.services_by_name[name].full_name
    for file, name in (
        (reporter_pb2.DESCRIPTOR, "ReporterService"),
        (export_pb2.DESCRIPTOR, "ExportService"),
        (admin_pb2.DESCRIPTOR, "AdminService"),
    )
)
COMPLETE_THROUGH: Final = "x-hitmesh-complete-through"
WARNING: Final = "x-hitmesh-warning"
WORKERS: Final = 8
# A response of 100,000 rows with a dozen cells is about 30 MB.
MAX_MESSAGE_BYTES: Final = 64 << 20
MAX_REQUEST_BYTES: Final = 1 << 20

_RequestT = TypeVar("_RequestT", bound=Message)
_ResponseT = TypeVar("_ResponseT", bound=Message)


def build_server(backend: Backend, workers: int = WORKERS) -> grpc.Server:
    """Returns a server with the services added, not started: hitmesh.lifecycle.serve runs it."""
    server = grpc.server(
        ThreadPoolExecutor(workers, thread_name_prefix="rpc"),
        options=[
            *SERVER_OPTIONS,
            ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ],
    )
    reporter_pb2_grpc.add_ReporterServiceServicer_to_server(ReporterService(backend), server)
    export_pb2_grpc.add_ExportServiceServicer_to_server(ExportService(backend), server)
    admin_pb2_grpc.add_AdminServiceServicer_to_server(AdminService(backend), server)
    return server


class _Shell:
    """Runs a function for the caller that the metadata names."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def _run(
        self,
        function: Callable[[Backend, IngestKey | None, _RequestT], _ResponseT],
        request: _RequestT,
        context: grpc.ServicerContext,
    ) -> _ResponseT:
        def call(request: _RequestT, context: grpc.ServicerContext) -> _ResponseT:
            caller = caller_of(self._backend.directory, context.invocation_metadata())
            return function(self._backend, caller, request)

        return translating(call)(request, context)


class ReporterService(_Shell, reporter_pb2_grpc.ReporterServiceServicer):
    """Answers questions."""

    def RunReport(
        self, request: reporter_pb2.RunReportRequest, context: grpc.ServicerContext
    ) -> reporter_pb2.RunReportResponse:
        """Runs one report."""
        response = self._run(run_report, request, context)
        reached = response.meta.freshness.complete_through
        _describe(context, reached.seconds * 1_000 + reached.nanos // 1_000_000)
        return response

    def ListMetrics(
        self, request: reporter_pb2.ListMetricsRequest, context: grpc.ServicerContext
    ) -> reporter_pb2.ListMetricsResponse:
        """Lists the metrics."""
        return list_metrics()

    def ListDimensions(
        self, request: reporter_pb2.ListDimensionsRequest, context: grpc.ServicerContext
    ) -> reporter_pb2.ListDimensionsResponse:
        """Lists the dimensions."""
        return list_dimensions()

    def GetFreshness(
        self, request: reporter_pb2.GetFreshnessRequest, context: grpc.ServicerContext
    ) -> reporter_pb2.GetFreshnessResponse:
        """Says how far the numbers reach."""
        return self._run(get_freshness, request, context)


class ExportService(_Shell, export_pb2_grpc.ExportServiceServicer):
    """Answers questions with files."""

    def ExportReport(
        self, request: export_pb2.ExportReportRequest, context: grpc.ServicerContext
    ) -> httpbody_pb2.HttpBody:
        """Runs one report and formats it."""

        def export(
            backend: Backend, caller: IngestKey | None, request: export_pb2.ExportReportRequest
        ) -> httpbody_pb2.HttpBody:
            body, answer = export_report(backend, caller, request)
            _describe(context, answer.freshness.complete_through, answer.warnings)
            return body

        return self._run(export, request, context)


class AdminService(_Shell, admin_pb2_grpc.AdminServiceServicer):
    """Keeps sites and keys."""

    def CreateSite(
        self, request: admin_pb2.CreateSiteRequest, context: grpc.ServicerContext
    ) -> admin_pb2.CreateSiteResponse:
        """Creates a site."""
        return self._run(create_site, request, context)

    def GetSite(self, request: admin_pb2.GetSiteRequest, context: grpc.ServicerContext) -> admin_pb2.GetSiteResponse:
        """Reads a site."""
        return self._run(get_site, request, context)

    def ListSites(
        self, request: admin_pb2.ListSitesRequest, context: grpc.ServicerContext
    ) -> admin_pb2.ListSitesResponse:
        """Lists sites."""
        return self._run(list_sites, request, context)

    def CreateIngestKey(
        self, request: admin_pb2.CreateIngestKeyRequest, context: grpc.ServicerContext
    ) -> admin_pb2.CreateIngestKeyResponse:
        """Creates a key."""
        return self._run(create_ingest_key, request, context)

    def RevokeIngestKey(
        self, request: admin_pb2.RevokeIngestKeyRequest, context: grpc.ServicerContext
    ) -> admin_pb2.RevokeIngestKeyResponse:
        """Revokes a key."""
        return self._run(revoke_ingest_key, request, context)


def _describe(context: grpc.ServicerContext, complete_through: int, warnings: Sequence[str] = ()) -> None:
    # Metadata is ASCII; no warning is expected to have anything else.
    texts = [warning.encode("ascii", "backslashreplace").decode() for warning in warnings]
    context.send_initial_metadata(
        ((COMPLETE_THROUGH, iso_instant(complete_through)), *((WARNING, text) for text in texts))
    )
