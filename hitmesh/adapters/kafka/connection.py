"""Settings with which Kafka clients connect: addresses, and the certificate of this process.

A client of librdkafka reads its certificate only when it is made. Long-lived clients therefore watch the files, and are
replaced when the files have changed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from confluent_kafka import KafkaException

from hitmesh.adapters.servers import Servers
from hitmesh.model.errors import Unavailable
from hitmesh.runtime.tls_files import AUTHORITIES, CERTIFICATE, KEY, CertificateFiles

ClientT = TypeVar("ClientT")
_RETRY_S: Final = 1.0
SILENT_MS: Final = 20_000
"""Milliseconds without an answer after which a client gives a broker up and asks another broker.

A broker behind a broken network never answers, and its connections stay open. With librdkafka's default of 60 s, the
stream stood still for 78 s when the network was cut."""


def connection(servers: Servers) -> dict[str, str | int | float | bool]:
    """Return the settings that every client needs to connect. TLS checks host names and authorities."""
    settings: dict[str, str | int | float | bool] = {
        "bootstrap.servers": servers.kafka,
        "log_level": 3,
        "socket.timeout.ms": SILENT_MS,
        "socket.connection.setup.timeout.ms": SILENT_MS // 2,
    }
    if servers.tls:
        folder = Path(servers.tls)
        settings |= {
            "security.protocol": "SSL",
            "ssl.ca.location": str(folder / AUTHORITIES),
            "ssl.certificate.location": str(folder / CERTIFICATE),
            "ssl.key.location": str(folder / KEY),
            "ssl.endpoint.identification.algorithm": "https",
        }
    return settings


def new_client(kind: Callable[[dict[str, Any]], ClientT], settings: dict[str, Any]) -> ClientT:
    """Return a new client. The client reads the certificate files itself, so files that do not fit are found here.

    Raises:
        Unavailable: the client cannot use the certificates; the files may be replaced at any time.
    """
    try:
        return kind(settings)
    except KafkaException as error:
        folder = settings.get("ssl.key.location")
        if folder is None:
            raise
        raise Unavailable(
            f"a client of Kafka cannot use the certificates beside {folder} ({error}): replace the files",
            retry_after_s=_RETRY_S,
            file=str(folder),
            cause=str(error),
        ) from error


class CertificateWatch:
    """Tells whether the certificate files have changed since a client was made.

    Args:
        servers: the servers; without TLS, nothing ever changes.
    """

    def __init__(self, servers: Servers) -> None:
        self._files = CertificateFiles(Path(servers.tls)) if servers.tls else None
        self._seen = self._files.current() if self._files else None

    def has_changed(self) -> bool:
        """Return whether the files have changed since the last call of `note`, or since this object was made."""
        return self._files is not None and self._files.current() != self._seen

    def note(self) -> None:
        """Remember the present files as those of the client that is made now."""
        if self._files is not None:
            self._seen = self._files.current()
