"""Certificates and keys in a directory: write, replace and read them.

The directory has `ca.crt` and `ca.key`, and a directory for each part with `tls.crt`, `tls.key` and `ca.crt`, which are
the names in a TLS secret of Kubernetes, and `tls-combined.pem` with key and certificate for Java servers. As in a
mounted secret, the files are links into a directory with one version of all files. A replacement makes a new directory
and moves the link `..data` to it, so a reader never finds the certificate of one version with the key of another. Key
files have mode 0600.
"""

from __future__ import annotations

import datetime
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from hitmesh.model.errors import RefusedError
from hitmesh.model.reasons import LocalReason
from hitmesh.runtime.tls_files import AUTHORITIES as AUTHORITY
from hitmesh.runtime.tls_files import CERTIFICATE, COMBINED, KEY
from hitmesh.runtime.tls_identity import DOMAIN
from hitmesh.tools.certs.issuing import (
    AUTHORITY_DAYS,
    LEAF_DAYS,
    PARTS,
    Authority,
    Term,
    certificate_pem,
    days_left,
    hosts_of,
    identity_of,
    issue,
    key_pem,
    new_authority,
)

AUTHORITY_KEY: Final = "ca.key"
_CURRENT: Final = "..data"
# A part is renewed when less than this part of its certificate's life is left.
_RENEWED_AT: Final = 1 / 3


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate in a directory.

    Attributes:
        name: the part, or `ca` for the authority.
        identity: the URI in the certificate; "" for the authority.
        serial: serial number in hexadecimal digits.
        expires: when the certificate expires.
        days_left: days until then; negative if the certificate has expired.
        hosts: host names and addresses in the certificate.
        file: the certificate's file.
    """

    name: str
    identity: str
    serial: str
    expires: datetime.datetime
    days_left: float
    hosts: tuple[str, ...]
    file: Path


def make(
    root: Path,
    now: datetime.datetime,
    *,
    days: float = LEAF_DAYS,
    authority_days: float = AUTHORITY_DAYS,
    hosts: Mapping[str, Sequence[str]] | None = None,
    domain: str = DOMAIN,
) -> None:
    """Make an authority and a certificate for each part.

    Args:
        root: the directory, which is created.
        now: the time of issue.
        days: days until the certificates of the parts expire.
        authority_days: days until the certificate of the authority expires.
        hosts: additional host names and addresses, keyed by part.
        domain: the mesh, which is the first element of each identity.

    Raises:
        RefusedError: the directory already has an authority (INVALID_FILE).
        OSError: a file cannot be written.
    """
    if (root / AUTHORITY_KEY).exists():
        raise _refused(f"{root} already has an authority: replace its certificates with `hitmesh certs rotate {root}`")
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = _new_key()
    authority = new_authority(key, x509.random_serial_number(), Term(now, authority_days), domain)
    _write(root / AUTHORITY, certificate_pem(authority.certificate), 0o644)
    for part in PARTS:
        _put(root, authority, part, Term(now, days), hosts_of(part, hosts or {}), domain)
    # The key comes last: a directory with a key is complete.
    _write(root / AUTHORITY_KEY, key_pem(key), 0o600)


def rotate(root: Path, now: datetime.datetime, parts: Sequence[str] = PARTS, *, days: float = LEAF_DAYS) -> None:
    """Replace keys and certificates of parts by new ones with the same identity and hosts.

    Raises:
        RefusedError: the directory has no authority, or a file in it is malformed (INVALID_FILE).
        OSError: a file cannot be read or written.
    """
    authority = _authority_in(root)
    for part in parts:
        old = _read(root / part / CERTIFICATE)
        domain = identity_of(old).removeprefix("spiffe://").partition("/")[0] or DOMAIN
        _put(root, authority, part, Term(now, days), _hosts_in(old), domain)


def renew(root: Path, now: datetime.datetime, *, days: float = LEAF_DAYS) -> list[str]:
    """Replace each certificate of which less than a third of its life is left; return the names of these parts.

    Errors are those of `rotate`.
    """
    due = [part for part in PARTS if _is_due(_read(root / part / CERTIFICATE), now)]
    rotate(root, now, due, days=days)
    return due


def issued(root: Path, now: datetime.datetime) -> list[Issued]:
    """Return all certificates in a directory, the authority first. Errors are those of `rotate`."""
    files = {"ca": root / AUTHORITY, **{part: root / part / CERTIFICATE for part in PARTS}}
    return [_issued(name, file, _read(file), now) for name, file in files.items()]


def _issued(name: str, file: Path, certificate: x509.Certificate, now: datetime.datetime) -> Issued:
    return Issued(
        name,
        identity_of(certificate),
        f"{certificate.serial_number:x}",
        certificate.not_valid_after_utc,
        days_left(certificate, now),
        tuple(_hosts_in(certificate)),
        file,
    )


def _is_due(certificate: x509.Certificate, now: datetime.datetime) -> bool:
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return certificate.not_valid_after_utc - now < life * _RENEWED_AT


def _put(root: Path, authority: Authority, part: str, term: Term, hosts: Sequence[str], domain: str) -> None:
    if authority.certificate.not_valid_after_utc <= term.now:
        raise _refused(f"the authority in {root} has expired: make a new directory with `hitmesh certs make`")
    key = _new_key()
    made = issue(authority, part, key, x509.random_serial_number(), term, hosts, domain)
    trusted = (root / AUTHORITY).read_bytes()
    pem, secret = certificate_pem(made), key_pem(key)
    replace(root / part, {CERTIFICATE: pem, KEY: secret, AUTHORITY: trusted, COMBINED: secret + pem})


def replace(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Replace all files in the folder at once, as the kubelet replaces the files of a secret.

    Args:
        folder: the folder, which is created.
        contents: the content of each file by name. Every file has mode 0600.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    current = folder / _CURRENT
    previous = current.resolve() if current.is_symlink() else None
    version = folder / f"..{os.urandom(8).hex()}"
    version.mkdir(mode=0o700)
    for name, content in contents.items():
        _write(version / name, content, 0o600)
    _link(current, version.name)
    for name in contents:
        if not (folder / name).is_symlink():
            _link(folder / name, f"{_CURRENT}/{name}")
    if previous is not None:
        shutil.rmtree(previous, ignore_errors=True)


def _link(place: Path, target: str) -> None:
    temporary = place.with_name(f"{place.name}_tmp")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    temporary.replace(place)


def _write(file: Path, content: bytes, mode: int) -> None:
    """Write a new file that nobody else could read before its mode was set."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as target:
        target.write(content)
        target.flush()
        os.fsync(target.fileno())
    file.chmod(mode)


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _authority_in(root: Path) -> Authority:
    try:
        key = load_pem_private_key((root / AUTHORITY_KEY).read_bytes(), None)
    except FileNotFoundError as error:
        raise _refused(f"{root} has no {AUTHORITY_KEY}: make certificates with `hitmesh certs make {root}`") from error
    except (ValueError, TypeError) as error:
        raise _refused(f"{root / AUTHORITY_KEY} is not a private key in PEM: restore the file") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise _refused(f"{root / AUTHORITY_KEY} is no key on an elliptic curve: restore the file")
    return Authority(_read(root / AUTHORITY), key)


def _read(file: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(file.read_bytes())
    except FileNotFoundError as error:
        raise _refused(f"{file} is missing: make certificates with `hitmesh certs make DIR`") from error
    except ValueError as error:
        raise _refused(f"{file} is not a certificate in PEM: restore the file") from error


def _hosts_in(certificate: x509.Certificate) -> list[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [*found.get_values_for_type(x509.DNSName), *map(str, found.get_values_for_type(x509.IPAddress))]


def _refused(message: str) -> RefusedError:
    return RefusedError(message, field="directory", reason=LocalReason.INVALID_FILE)
