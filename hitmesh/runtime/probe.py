"""A probe of a service with certificates: `python -m hitmesh.runtime.probe PORT --tls-dir DIR [--service NAME]`.

The kubelet's own gRPC probes present no certificate, so a pod with certificates needs this command. The service must
admit the certificate in DIR (TLS_PEERS), for example its own. The exit status is 0 if the service is SERVING, otherwise
1, with the cause on stderr.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hitmesh.model.errors import RefusedError
from hitmesh.runtime.tls_files import read_certificates

_TIMEOUT_S: Final = 4.0
_SERVING: Final = health_pb2.HealthCheckResponse.SERVING


def complaint(port: int, folder: Path, service: str, timeout_s: float = _TIMEOUT_S) -> str:
    """Return why a service on this machine is not healthy; "" if the service is SERVING.

    Args:
        port: port of the service.
        folder: directory with tls.crt, tls.key and ca.crt.
        service: full name of the gRPC service; "" for the whole server.
        timeout_s: time limit in seconds.

    Raises:
        RefusedError: a file is missing or malformed (INVALID_CONFIG).
    """
    found = read_certificates(folder)
    credentials = grpc.ssl_channel_credentials(found.authorities, found.key, found.certificate)
    with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
        try:
            request = health_pb2.HealthCheckRequest(service=service)
            stub: Any = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(request, timeout=timeout_s)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
    return "" if answer.status == _SERVING else health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


def main(argv: Sequence[str] | None = None) -> int:
    """Ask once; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("port", type=int, help="port of the service on this machine")
    parser.add_argument("--tls-dir", type=Path, required=True, help="directory with tls.crt, tls.key and ca.crt")
    parser.add_argument("--service", default="", help="full name of the gRPC service; default: the whole server")
    given = parser.parse_args(argv)
    try:
        cause = complaint(given.port, given.tls_dir, given.service)
    except RefusedError as error:
        cause = error.message
    if cause:
        sys.stderr.write(f"port {given.port}: {cause}\n")
    return 1 if cause else 0


if __name__ == "__main__":
    sys.exit(main())
