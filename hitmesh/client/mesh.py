"""A connection to a mesh: the channel to its proxy, the stubs of every service behind it, the caller's key.

Each stub is imported on first use, so that a command pays only for the services that it calls.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc

from hitmesh.model.errors import RefusedError
from hitmesh.model.reasons import LocalReason

if TYPE_CHECKING:
    from hitmesh.api.collector.v1.collector_pb2_grpc import CollectorServiceStub
    from hitmesh.api.control.v1.admin_pb2_grpc import AdminServiceStub
    from hitmesh.api.control.v1.operations_pb2_grpc import OperationsServiceStub
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


@dataclass(frozen=True)
class Mesh:
    """A channel and a key. Close the mesh, or use it in a `with`."""

    channel: grpc.Channel
    key: str | None = None

    @classmethod
    def connect(cls, endpoint: str, key: str | None = None) -> Mesh:
        """Return a mesh at `host:port`; the first call opens the connection."""
        return cls(grpc.insecure_channel(endpoint, options=_OPTIONS), key)

    def __enter__(self) -> Mesh:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    @property
    def credentials(self) -> Metadata:
        """Metadata that names the caller; empty without a key."""
        return (("authorization", f"Bearer {self.key}"),) if self.key else ()

    def require_key(self) -> str:
        """Return the key.

        Raises:
            RefusedError: the mesh has no key (NO_KEY).
        """
        if self.key is None:
            raise RefusedError(
                "no server key was found: set HITMESH_KEY or HITMESH_KEY_FILE, or name with --home "
                "the home of a mesh that `hitmesh dev` started",
                reason=LocalReason.NO_KEY,
            )
        return self.key

    @property
    def admin(self) -> AdminServiceStub:
        """Sites and keys."""
        from hitmesh.api.control.v1.admin_pb2_grpc import AdminServiceStub

        return AdminServiceStub(self.channel)

    @property
    def collector(self) -> CollectorServiceStub:
        """Hit intake."""
        from hitmesh.api.collector.v1.collector_pb2_grpc import CollectorServiceStub

        return CollectorServiceStub(self.channel)

    @property
    def reporter(self) -> ReporterServiceStub:
        """Typed questions."""
        from hitmesh.api.reporter.v1.reporter_pb2_grpc import ReporterServiceStub

        return ReporterServiceStub(self.channel)

    @property
    def exports(self) -> ExportServiceStub:
        """Reports as files."""
        from hitmesh.api.reporter.v1.export_pb2_grpc import ExportServiceStub

        return ExportServiceStub(self.channel)

    @property
    def operations(self) -> OperationsServiceStub:
        """Ledger and drift."""
        from hitmesh.api.control.v1.operations_pb2_grpc import OperationsServiceStub

        return OperationsServiceStub(self.channel)

    @property
    def traces(self) -> TraceServiceStub:
        """The trace of a single hit."""
        from hitmesh.api.control.v1.trace_pb2_grpc import TraceServiceStub

        return TraceServiceStub(self.channel)
