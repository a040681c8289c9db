"""Certificates for tests, and TLS clients that show what a server presents."""

from __future__ import annotations

import datetime
import socket
import ssl
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hitmesh.runtime.tls_files import read_certificates
from hitmesh.tools.certs import files
from tests.support.patience import patient


def made(root: Path) -> Path:
    """Make an authority and certificates in a directory, and return the directory."""
    files.make(root, datetime.datetime.now(datetime.UTC))
    return root


def rotate(root: Path, *parts: str) -> None:
    """Replace the certificates of some parts."""
    files.rotate(root, datetime.datetime.now(datetime.UTC), parts)


def serial_in(folder: Path) -> str:
    """Return the serial number of the certificate in a part's directory."""
    return read_certificates(folder).serial


def presented_serial(port: int, client: Path) -> str:
    """Return the serial number of the certificate that a server presents to a new connection.

    Args:
        port: the server's port on loopback.
        client: directory with the certificate of the client.
    """
    context = ssl.create_default_context(cafile=str(client / "ca.crt"))
    context.load_cert_chain(client / "tls.crt", client / "tls.key")
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", port), patient(5)) as raw,
        context.wrap_socket(raw, server_hostname="localhost") as wrapped,
    ):
        der = wrapped.getpeercert(binary_form=True)
    assert der is not None
    return f"{x509.load_der_x509_certificate(der).serial_number:x}"


def credentials(client: Path | None, authorities: Path) -> grpc.ChannelCredentials:
    """Return the credentials of a client, without a certificate if `client` is None.

    Args:
        client: directory with the certificate of the client.
        authorities: file with the authorities that the client trusts.
    """
    trusted = authorities.read_bytes()
    if client is None:
        return grpc.ssl_channel_credentials(trusted)
    return grpc.ssl_channel_credentials(trusted, (client / "tls.key").read_bytes(), (client / "tls.crt").read_bytes())


def health_code(port: int, used: grpc.ChannelCredentials | None) -> grpc.StatusCode:
    """Return the status code of a health check on a new connection, in plaintext if `used` is None."""
    target = f"localhost:{port}"
    options = (("grpc.use_local_subchannel_pool", 1),)
    opened = grpc.secure_channel(target, used, options) if used else grpc.insecure_channel(target, options)
    with opened as channel:
        try:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            stub.Check(health_pb2.HealthCheckRequest(), timeout=patient(5))
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
    return grpc.StatusCode.OK
