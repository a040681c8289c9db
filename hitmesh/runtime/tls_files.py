"""Certificate, key and authorities of this process, read from a directory and read again when the files change.

The directory has `tls.crt`, `tls.key` and `ca.crt`, as a TLS secret of Kubernetes, and as `hitmesh certs` makes.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from hitmesh.model.errors import RefusedError
from hitmesh.model.reasons import LocalReason
from hitmesh.runtime.logs import logger

CERTIFICATE: Final = "tls.crt"
KEY: Final = "tls.key"
AUTHORITIES: Final = "ca.crt"
COMBINED: Final = "tls-combined.pem"
"""Key and certificate in a single file, as Java servers read them."""
NAMES: Final = (CERTIFICATE, KEY, AUTHORITIES)

# Inode, change time in ns, and size of each file.
_Version: TypeAlias = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Certificates:
    """The content of the three files, as PEM.

    Attributes:
        certificate: the certificate of this process, followed by the certificates of intermediate authorities, if any.
        key: the private key of the certificate.
        authorities: the certificates of the authorities that sign the certificates of peers.
        serial: serial number of the certificate in hexadecimal digits.
    """

    certificate: bytes
    key: bytes
    authorities: bytes
    serial: str


class CertificateFiles:
    """The current certificates in a directory. Thread-safe.

    Args:
        folder: the directory.

    Raises:
        RefusedError: a file is missing or malformed, or the key is not the key of the certificate (INVALID_CONFIG).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._version = self._complained = _version(folder)
        self._current = read_certificates(folder)

    def current(self) -> Certificates:
        """Return the certificates; read the files again if they have changed.

        If the changed files cannot be used, write a log line, and return the certificates that were read before. The
        files are read again at the next call.
        """
        with self._lock:
            version = _version(self.folder)
            if version == self._version:
                return self._current
            try:
                self._current = read_certificates(self.folder)
                self._version = version
                logger().info("certificates_read", serial=self._current.serial)
            except RefusedError as error:
                if self._complained != version:
                    self._complained = version
                    logger().warning("certificates_not_read", cause=error.message)
            return self._current


def read_certificates(folder: Path) -> Certificates:
    """Return the certificates in a directory. Errors are those of CertificateFiles."""
    certificate, key, authorities = (_content(folder / name) for name in NAMES)
    try:
        parsed = x509.load_pem_x509_certificate(certificate)
        matches = load_pem_private_key(key, None).public_key() == parsed.public_key()
        x509.load_pem_x509_certificates(authorities)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _refused(
            f"{folder}: the files {', '.join(NAMES)} must be PEM, and the key must have no password"
        ) from error
    if not matches:
        raise _refused(f"{folder}: {KEY} is not the key of the certificate in {CERTIFICATE}; write both files again")
    return Certificates(certificate, key, authorities, f"{parsed.serial_number:x}")


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError as error:
        raise _refused(f"{file} is missing: make it with `hitmesh certs make`") from error
    except OSError as error:
        raise _refused(f"{file} cannot be read ({error.strerror}): let the user of this process read it") from error


def _version(folder: Path) -> _Version:
    found = []
    for name in NAMES:
        try:
            state = (folder / name).stat()
        except OSError:
            found.append((0, 0, 0))
        else:
            found.append((state.st_ino, state.st_mtime_ns, state.st_size))
    return tuple(found)


def _refused(message: str) -> RefusedError:
    return RefusedError(message, field="tls_dir", reason=LocalReason.INVALID_CONFIG)
