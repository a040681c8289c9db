"""A connection to a mesh: the proxy's channel, all services' stubs, and the caller's key.

The module of a stub is imported at the stub's first use, so that a command imports only the services that it calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc

from hitmesh.client.tracing import CallSpans
from hitmesh.model.errors import RefusedError
from hitmesh.model.reasons import LocalReason

if TYPE_CHECKING:
    from hitmesh.api.collector.v1.collector_pb2_grpc import CollectorServiceStub
    from hitmesh.api.control.v1.admin_pb2_grpc import AdminServiceStub
    from hitmesh.api.control.v1.operations_pb2_grpc import OperationsServiceStub
    from hitmesh.api.control.v1.rejected_hits_pb2_grpc import RejectedHitServiceStub
    from hitmesh.api.control.v1.reprocessing_pb2_grpc import ReprocessingServiceStub
    from hitmesh.api.control.v1.shadow_pb2_grpc import ShadowStreamServiceStub
    from hitmesh.api.control.v1.trace_pb2_grpc import TraceServiceStub
    from hitmesh.api.reporter.v1.export_pb2_grpc import ExportServiceStub
    from hitmesh.api.reporter.v1.reporter_pb2_grpc import ReporterServiceStub

Metadata = tuple[tuple[str, str], ...]

SITE_METADATA: Final = "hitmesh-site"
CALL_TIMEOUT_S: Final = 30.0

_OPTIONS: Final[tuple[tuple[str, int], ...]] = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    # Two meshes in a process, or a mesh before and after a restart, must not share a connection.
    ("grpc.use_local_subchannel_pool", 1),
)

_KEY_REFUSED: Final = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)


@dataclass(frozen=True)
class Mesh:
    """A connection to a mesh: a gRPC channel and the caller's key.

    Use the connection in a `with` statement, which closes the channel, or close `channel` yourself.

    `key_source` names the variable or file that contained the key; see `name_key`.
    """

    channel: grpc.Channel
    key: str | None = None
    key_source: str = ""

    @classmethod
    def connect(cls, endpoint: str, key: str | None = None, key_source: str = "") -> Mesh:
        """Return a connection to the mesh at `host:port`; the first call opens the TCP connection."""
        channel = grpc.intercept_channel(grpc.insecure_channel(endpoint, options=_OPTIONS), CallSpans())
        return cls(channel, key, key_source)

    def __enter__(self) -> Mesh:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if error is not None:
            self.name_key(error)
        self.channel.close()

    def name_key(self, error: BaseException) -> None:
        """If `error` says that the mesh refused the key, add a note with the key's source to `error`.

        If `error` already has a note, nothing changes.
        """
        is_refused = isinstance(error, grpc.RpcError) and error.code() in _KEY_REFUSED
        if is_refused and self.key and self.key_source and not getattr(error, "__notes__", None):
            error.add_note(f"the key comes from {self.key_source}")

    @property
    def credentials(self) -> Metadata:
        """Metadata with the caller's key; empty if there is no key."""
        return (("authorization", f"Bearer {self.key}"),) if self.key else ()

    def require_key(self) -> str:
        """Return the key.

        Raises:
            RefusedError: the mesh has no key (NO_KEY).
        """
        if self.key is None:
            raise RefusedError(
                "no server key was found: set HITMESH_KEY or HITMESH_KEY_FILE, or give as --home "
                "the home of a mesh that `hitmesh dev` started",
                reason=LocalReason.NO_KEY,
            )
        return self.key

    @property
    def admin(self) -> AdminServiceStub:
        """The gRPC stub for sites and keys."""
        from hitmesh.api.control.v1.admin_pb2_grpc import AdminServiceStub

        return AdminServiceStub(self.channel)

    @property
    def collector(self) -> CollectorServiceStub:
        """The gRPC stub for sending hits."""
        from hitmesh.api.collector.v1.collector_pb2_grpc import CollectorServiceStub

        return CollectorServiceStub(self.channel)

    @property
    def reporter(self) -> ReporterServiceStub:
        """The gRPC stub for reports and freshness."""
        from hitmesh.api.reporter.v1.reporter_pb2_grpc import ReporterServiceStub

        return ReporterServiceStub(self.channel)

    @property
    def exports(self) -> ExportServiceStub:
        """The gRPC stub for the export of reports as files."""
        from hitmesh.api.reporter.v1.export_pb2_grpc import ExportServiceStub

        return ExportServiceStub(self.channel)

    @property
    def operations(self) -> OperationsServiceStub:
        """The gRPC stub for ledger and drift."""
        from hitmesh.api.control.v1.operations_pb2_grpc import OperationsServiceStub

        return OperationsServiceStub(self.channel)

    @property
    def reprocessings(self) -> ReprocessingServiceStub:
        """The gRPC stub for reprocessings."""
        from hitmesh.api.control.v1.reprocessing_pb2_grpc import ReprocessingServiceStub

        return ReprocessingServiceStub(self.channel)

    @property
    def rejected_hits(self) -> RejectedHitServiceStub:
        """The gRPC stub for rejected hits."""
        from hitmesh.api.control.v1.rejected_hits_pb2_grpc import RejectedHitServiceStub

        return RejectedHitServiceStub(self.channel)

    @property
    def shadow(self) -> ShadowStreamServiceStub:
        """The gRPC stub for the shadow stream."""
        from hitmesh.api.control.v1.shadow_pb2_grpc import ShadowStreamServiceStub

        return ShadowStreamServiceStub(self.channel)

    @property
    def traces(self) -> TraceServiceStub:
        """The gRPC stub for tracing a single hit."""
        from hitmesh.api.control.v1.trace_pb2_grpc import TraceServiceStub

        return TraceServiceStub(self.channel)
