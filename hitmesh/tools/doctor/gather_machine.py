"""Gathers facts about this machine: certificates in files and at the front door, disks, and embedded files."""

from __future__ import annotations

import shutil
import socket
import ssl
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from cryptography import x509

from hitmesh.adapters.embedded.file_facts import store_files
from hitmesh.model.server_facts import StoreFile
from hitmesh.tools.doctor.facts import CertificateFacts, CertificatesFacts, DiskFacts
from hitmesh.tools.doctor.findings import Skipped
from hitmesh.tools.doctor.place import Place
from hitmesh.tools.doctor.running import Watch, text_of

_PEM: Final = b"-----BEGIN CERTIFICATE-----"


def gather_certificates(place: Place, watch: Watch) -> CertificatesFacts | Skipped:
    """Read the certificates in the files that settings name, and the certificate of the front door."""
    files = {file: name for name, path in place.certificates.items() for file in _files(path)}
    found = [each for file, name in files.items() for each in _in_file(name, file)]
    if place.door:
        watch.on(f"the certificate of the front door at {place.door}")
        found += _of_door(place.door, watch)
    if not found:
        return Skipped("no setting names a certificate, and the front door has none")
    return CertificatesFacts(found, place.clock.now())


def _files(path: Path) -> list[Path]:
    """Return a file itself, or the certificates in a directory, such as `tls.crt` and `ca.crt`."""
    if not path.is_dir():
        return [path]
    return sorted(path.glob("*.crt")) or [path / "tls.crt"]


def _in_file(name: str, path: Path) -> Iterator[CertificateFacts]:
    try:
        content = path.read_bytes()
        if _PEM not in content:
            raise ValueError("the file contains no certificate in PEM form")
        for certificate in x509.load_pem_x509_certificates(content):
            yield facts_of(str(path), certificate)
    except (OSError, ValueError) as error:
        yield CertificateFacts(f"{path} ({name})", error=text_of(error))


def _of_door(address: str, watch: Watch) -> Iterator[CertificateFacts]:
    """Yield the certificate of a listener; a listener without TLS has none."""
    host, _, port = address.rpartition(":")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host.strip("[]"), int(port)), watch.left_s(2.0)) as connection,
            context.wrap_socket(connection, server_hostname=host) as secured,
        ):
            content = secured.getpeercert(binary_form=True)
    except (OSError, ValueError):  # ssl.SSLError is an OSError
        return
    if content:
        yield replace(facts_of(address, x509.load_der_x509_certificate(content)), is_of_door=True)


def facts_of(source: str, certificate: x509.Certificate) -> CertificateFacts:
    """Return the subject and the validity of a certificate."""
    return CertificateFacts(
        source,
        certificate.subject.rfc4514_string(),
        int(certificate.not_valid_before_utc.timestamp() * 1000),
        int(certificate.not_valid_after_utc.timestamp() * 1000),
    )


def gather_disks(place: Place, watch: Watch) -> list[DiskFacts] | Skipped:
    """Return the disks that hold the mesh's directories on this machine; a disk is listed once."""
    directories = [place.home] if place.uses_home else []
    directories += [place.data] if place.data is not None else []
    found: dict[int, DiskFacts] = {}
    for directory in filter(Path.is_dir, directories):
        watch.on(f"the disk of {directory}")
        usage = shutil.disk_usage(directory)
        found.setdefault(directory.stat().st_dev, DiskFacts(str(directory), usage.total, usage.free))
    return list(found.values()) or Skipped("the mesh has no files on this machine")


def gather_files(place: Place, watch: Watch) -> list[StoreFile]:
    """Read the schema version of each embedded file."""
    assert place.data is not None
    watch.on(f"the files in {place.data}")
    return store_files(place.data)
