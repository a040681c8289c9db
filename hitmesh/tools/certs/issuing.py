"""Issue certificates: an authority for a mesh, and short-lived certificates for its parts. Pure.

Each part has an identity, the URI `spiffe://DOMAIN/PART`. By default, a service accepts a peer only by its URI,
so a certificate for a host gives no rights. Host names and addresses are in the certificate too, for clients that check
the host to which they connect.

Keys, serial numbers and the time are arguments. Keys are on the curve P-256, which Envoy, gRPC, librdkafka and Java
support.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from hitmesh.runtime.tls_identity import DOMAIN, identity

SERVICES: Final = ("envoy", "collector", "processor", "reporter", "control")
SERVERS: Final = ("kafka", "cassandra", "druid")
CLIENT: Final = "client"
PARTS: Final = (*SERVICES, *SERVERS, CLIENT)
"""The parts of a mesh with a certificate each. `client` is for commands such as `hitmesh init`."""
LEAF_DAYS: Final = 7
AUTHORITY_DAYS: Final = 3_650
# Clocks of two machines may differ, so a new certificate is valid from a few minutes ago.
BACKDATED: Final = datetime.timedelta(minutes=5)
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
# The names that a Service object of Kubernetes has.
_IN_CLUSTER: Final = ("", ".hitmesh", ".hitmesh.svc", ".hitmesh.svc.cluster.local")


@dataclass(frozen=True, slots=True)
class Term:
    """The time in which a certificate is valid.

    Attributes:
        now: the time of issue.
        days: days from `now` until the certificate expires.
    """

    now: datetime.datetime
    days: float

    @property
    def begins(self) -> datetime.datetime:
        """The first instant at which the certificate is valid."""
        return self.now - BACKDATED

    @property
    def ends(self) -> datetime.datetime:
        """The instant at which the certificate expires."""
        return self.now + datetime.timedelta(days=self.days)


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority: its certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def hosts_of(part: str, more: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the host names and addresses in a part's certificate, without duplicates.

    Args:
        part: name of the part.
        more: additional host names and addresses, keyed by part.

    Example:
        >>> hosts_of("kafka", {"kafka": ["broker-0.stores"]})
        ['localhost', '127.0.0.1', '::1', 'broker-0.stores']
    """
    in_cluster = [f"{part}{suffix}" for suffix in _IN_CLUSTER] if part in SERVICES else []
    return list(dict.fromkeys([*_LOOPBACK, *in_cluster, *more.get(part, ())]))


def new_authority(key: ec.EllipticCurvePrivateKey, serial: int, term: Term, domain: str = DOMAIN) -> Authority:
    """Return an authority, which may sign certificates of parts, but no further authorities."""
    name = _name(f"{domain} authority")
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    made = (
        _begun(name, name, key, serial, term.begins, term.ends)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(made, key)


def issue(
    authority: Authority,
    part: str,
    key: ec.EllipticCurvePrivateKey,
    serial: int,
    term: Term,
    hosts: Sequence[str],
    domain: str = DOMAIN,
) -> x509.Certificate:
    """Return the certificate of a part, valid as client and as server. It expires no later than the authority.

    Args:
        authority: the authority that signs.
        part: name of the part, which becomes the last element of its identity.
        key: the private key of the part.
        serial: serial number.
        term: time of issue and days until the certificate expires.
        hosts: host names and addresses of the part.
        domain: the mesh, which is the first element of the identity.
    """
    alternatives = [x509.UniformResourceIdentifier(identity(part, domain)), *map(_host, hosts)]
    ends = min(term.ends, authority.certificate.not_valid_after_utc)
    return (
        _begun(_name(part), authority.certificate.subject, key, serial, term.begins, ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
        .sign(authority.key, hashes.SHA256())
    )


def certificate_pem(certificate: x509.Certificate) -> bytes:
    """Return a certificate as PEM."""
    return certificate.public_bytes(Encoding.PEM)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a private key as PEM (PKCS #8, not encrypted)."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def identity_of(certificate: x509.Certificate) -> str:
    """Return the first URI in a certificate, or "" if the certificate has no URI."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ""
    return next(iter(found.get_values_for_type(x509.UniformResourceIdentifier)), "")


def days_left(certificate: x509.Certificate, now: datetime.datetime) -> float:
    """Return the days until a certificate expires; negative if the certificate has expired."""
    return (certificate.not_valid_after_utc - now) / datetime.timedelta(days=1)


def _begun(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    serial: int,
    begins: datetime.datetime,
    ends: datetime.datetime,
) -> x509.CertificateBuilder:
    begun = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    return begun.serial_number(serial).not_valid_before(begins).not_valid_after(ends)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
