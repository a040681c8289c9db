"""Renders the parts of Envoy's configuration by which Envoy and the services identify themselves to each other (mTLS).

Envoy reads its certificate by SDS from two files, because Envoy watches certificate files only if SDS names them. When
the files of the certificates are replaced, new connections use the new certificates; calls in flight go on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hitmesh.runtime.tls_files import AUTHORITIES, CERTIFICATE, KEY
from hitmesh.runtime.tls_identity import DOMAIN, identity

NO_TLS: Final = "# The services have no certificates."
CERTIFICATE_SECRET: Final = "own-certificate"
AUTHORITIES_SECRET: Final = "authorities"
_SERVICES: Final = ("collector", "reporter", "processor", "control")
_TYPES: Final = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"


@dataclass(frozen=True, slots=True)
class DoorTls:
    """The files of Envoy's certificate.

    Attributes:
        folder: directory with tls.crt, tls.key and ca.crt, which are replaced together by moving a link in it.
        secrets: directory of the two SDS files.
        domain: the mesh, which is the first element of the services' identities.
    """

    folder: Path
    secrets: Path
    domain: str = DOMAIN

    @property
    def certificate_file(self) -> Path:
        """The SDS file that names the certificate and its key."""
        return self.secrets / f"sds-{CERTIFICATE_SECRET}.json"

    @property
    def authorities_file(self) -> Path:
        """The SDS file that names the authorities."""
        return self.secrets / f"sds-{AUTHORITIES_SECRET}.json"


def transports(tls: DoorTls | None) -> dict[str, str]:
    """Return a line for each cluster, keyed by placeholder.

    The line encrypts the connections of the cluster, and accepts only the identity of the service.
    """
    return {f"{service}_transport": _transport(tls, service) if tls else NO_TLS for service in _SERVICES}


def _transport(tls: DoorTls, service: str) -> str:
    common = {
        "alpn_protocols": ["h2"],
        # As a client, Envoy would use at most TLS 1.2 by default.
        "tls_params": {f"tls_{bound}_protocol_version": "TLSv1_3" for bound in ("minimum", "maximum")},
        **_checked(tls, identity(service, tls.domain)),
    }
    # Without sessions, each connection presents and checks certificates again.
    typed = {"@type": f"{_TYPES}.UpstreamTlsContext", "common_tls_context": common, "max_session_keys": 0}
    return f"transport_socket: {json.dumps({'name': 'envoy.transport_sockets.tls', 'typed_config': typed})}"


def _checked(tls: DoorTls, peer: str) -> dict[str, object]:
    """Return the part of a context that presents the own certificate, and accepts only peers with a URI."""
    wanted = [{"san_type": "URI", "matcher": {"exact": peer}}]
    return {
        "tls_certificate_sds_secret_configs": [_source(CERTIFICATE_SECRET, tls.certificate_file)],
        "combined_validation_context": {
            "default_validation_context": {"match_typed_subject_alt_names": wanted},
            "validation_context_sds_secret_config": _source(AUTHORITIES_SECRET, tls.authorities_file),
        },
    }


def secrets(tls: DoorTls) -> dict[Path, str]:
    """Return the content of the SDS files."""
    watched = {"path": str(tls.folder)}
    pair = {
        "certificate_chain": {"filename": str(tls.folder / CERTIFICATE)},
        "private_key": {"filename": str(tls.folder / KEY)},
        "watched_directory": watched,
    }
    trusted = {"trusted_ca": {"filename": str(tls.folder / AUTHORITIES)}, "watched_directory": watched}
    return {
        tls.certificate_file: _resource(CERTIFICATE_SECRET, {"tls_certificate": pair}),
        tls.authorities_file: _resource(AUTHORITIES_SECRET, {"validation_context": trusted}),
    }


def _source(name: str, file: Path) -> dict[str, object]:
    return {"name": name, "sds_config": {"resource_api_version": "V3", "path_config_source": {"path": str(file)}}}


def _resource(name: str, content: dict[str, object]) -> str:
    return json.dumps({"resources": [{"@type": f"{_TYPES}.Secret", "name": name, **content}]}) + "\n"
