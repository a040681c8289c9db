"""TLS of connections to servers: the certificate of this process, read again for each new connection.

Connections check the host name of the server, and the authorities that signed its certificate.
"""

from __future__ import annotations

import socket
import ssl
from pathlib import Path
from typing import Any

from hitmesh.runtime.tls_files import AUTHORITIES, CERTIFICATE, KEY, CertificateFiles, Certificates


class ReloadingContext(ssl.SSLContext):
    """A client's TLS context that uses the current files of a directory for each new connection.

    Must be made by `client_context`.
    """

    _files: CertificateFiles
    _loaded: tuple[Certificates, ssl.SSLContext]

    def follow(self, files: CertificateFiles) -> None:
        """Use these certificates for all connections, also after they have been replaced."""
        self._files = files
        self._loaded = (files.current(), _loaded(files.folder))

    def wrap_socket(self, sock: socket.socket, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        """Wrap a socket with the current certificates."""
        current, (certificates, context) = self._files.current(), self._loaded
        if current is not certificates:
            # A new context trusts only the present authorities; a context never forgets an authority.
            context = _loaded(self._files.folder)
            self._loaded = (current, context)
        return context.wrap_socket(sock, *arguments, **options)


def client_context(folder: Path) -> ReloadingContext:
    """Return a context for connections to servers.

    Args:
        folder: directory with tls.crt, tls.key and ca.crt.

    Raises:
        RefusedError: a file is missing or malformed (INVALID_CONFIG).
    """
    context = ReloadingContext(ssl.PROTOCOL_TLS_CLIENT)
    context.follow(CertificateFiles(folder))
    return context


def _loaded(folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(folder / AUTHORITIES)
    context.load_cert_chain(folder / CERTIFICATE, folder / KEY)
    return context
