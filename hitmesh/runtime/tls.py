"""mTLS of a service: credentials that follow the certificate files, and a check of each caller's identity.

TLS admits every peer with a certificate of the mesh's authorities. The check then refuses calls of peers that are not
named in the setting TLS_PEERS, so that for example the certificate of a store gives no access to a service.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc

from hitmesh.model.errors import PermissionDenied
from hitmesh.model.reasons import ErrorReason
from hitmesh.runtime.config import ServiceSettings
from hitmesh.runtime.handlers import Behaviour, Handler, with_behaviour
from hitmesh.runtime.logs import Complaints
from hitmesh.runtime.rpc_errors import abort
from hitmesh.runtime.tls_files import CertificateFiles, Certificates
from hitmesh.runtime.tls_identity import names_of, peers_in

# Minimum seconds between two log lines about refused peers.
COMPLAIN_EVERY_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class ServerTls:
    """The certificates of a service, and the peers that may call it.

    Attributes:
        files: the certificates, which may be replaced at any time.
        peers: URIs and DNS names; a peer needs one of them in its certificate.
        complaints: warnings about refused peers, which `serve` writes.
    """

    files: CertificateFiles
    peers: frozenset[str]
    complaints: Complaints = field(default_factory=lambda: Complaints("peers_refused", COMPLAIN_EVERY_S))

    def credentials(self) -> grpc.ServerCredentials:
        """Return credentials that need a certificate of each peer. Each new connection uses the current files."""
        used = self.files.current()

        def changed() -> grpc.ServerCertificateConfiguration | None:
            """Return the configuration for a new connection; None if it is that of the connection before.

            gRPC replaces the state of all handshakes with each configuration. With a new configuration for each
            connection, gRPC aborted the process once while many peers were refused at the same time.
            """
            nonlocal used
            current = self.files.current()
            if current == used:
                return None
            used = current
            return _configuration(current)

        # gRPC documents None as "no change"; the type stubs leave None out.
        return grpc.dynamic_ssl_server_credentials(
            _configuration(used),
            changed,  # type: ignore[arg-type]
            require_client_authentication=True,
        )


def _configuration(current: Certificates) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(current.key, current.certificate)], current.authorities)


def server_tls(settings: ServiceSettings) -> ServerTls | None:
    """Return the TLS of a service; None if the settings name no certificates.

    Raises:
        RefusedError: the files cannot be used (INVALID_CONFIG).
    """
    if not settings.tls_dir:
        return None
    return ServerTls(CertificateFiles(Path(settings.tls_dir)), peers_in(settings.tls_peers))


class PeerCheck(grpc.ServerInterceptor):
    """Refuses calls of peers whose certificate has none of the accepted names (PERMISSION_DENIED).

    The check applies to every method, also of health and reflection, and runs before the request is handled.

    Args:
        tls: the accepted URIs and DNS names, and the warnings about refused peers.
    """

    def __init__(self, tls: ServerTls) -> None:
        self._peers, self._complaints = tls.peers, tls.complaints

    def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Handler | None], details: grpc.HandlerCallDetails
    ) -> Handler | None:
        """Return a handler that checks the peer first; None if the method does not exist."""
        handler = continuation(details)
        return None if handler is None else with_behaviour(handler, self._checked)

    def _checked(self, behaviour: Behaviour) -> Behaviour:
        @functools.wraps(behaviour)  # `wraps` copies the attributes that gRPC reads
        def checked(request: Any, context: grpc.ServicerContext, *call: Any) -> Any:
            if self._peers.isdisjoint(names := _names(context)):
                self._complaints.add(ErrorReason.PERMISSION_DENIED, names=sorted(names))
                abort(context, _refusal())
            return behaviour(request, context, *call)

        return checked


def _names(context: grpc.ServicerContext) -> frozenset[str]:
    return names_of(context.auth_context())  # type: ignore[arg-type]  # each value is a list, unlike in the type stubs


def _refusal() -> PermissionDenied:
    return PermissionDenied(
        "the peer's certificate has none of the names that may call this service: call through Envoy, or add a name of "
        "the peer to the setting TLS_PEERS",
        reason=ErrorReason.PERMISSION_DENIED,
    )
