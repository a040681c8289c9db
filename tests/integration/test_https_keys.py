"""Test that keys of tokens are fetched over TLS from an issuer with its own authority, and rotate without a restart."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from hitmesh.access.key_sources import FetchTimes, UrlKeys
from hitmesh.access.token_keys import MAX_SET_BYTES
from hitmesh.access.tokens import TokenRules, verified
from hitmesh.adapters.jwks import fetched
from hitmesh.model.errors import Unauthenticated, Unavailable
from tests.support.tokens import AUDIENCE, ISSUER, NOW_S, a_token, ec_key, jwk, key_set, rsa_key

RULES = TokenRules(ISSUER, frozenset({AUDIENCE}))
RETRY_S = 30
BEGINS = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def certificate(subject: str, authority: str, *, is_authority: bool) -> bytes:
    """Return a certificate as PEM; the names are also the names of the keys."""
    subject_name, issuer_name = (
        x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, n)]) for n in (subject, authority)
    )
    made = x509.CertificateBuilder().subject_name(subject_name).issuer_name(issuer_name)
    made = made.public_key(ec_key(subject).public_key()).serial_number(x509.random_serial_number())
    made = made.not_valid_before(BEGINS).not_valid_after(BEGINS + datetime.timedelta(days=9_000))
    made = made.add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = made.add_extension(names, critical=False)
    return made.sign(ec_key(authority), hashes.SHA256()).public_bytes(Encoding.PEM)


class Issuer(ThreadingHTTPServer):
    """An https server with the current key set."""

    answer = b""


class _Answers(BaseHTTPRequestHandler):
    server: Issuer

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.server.answer)

    def log_message(self, format: str, *arguments: object) -> None:
        """Print nothing."""


@pytest.fixture
def issuer(tmp_path: Path) -> Iterator[Issuer]:
    private = ec_key("issuer").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain = tmp_path / "issuer.pem"
    chain.write_bytes(private + certificate("issuer", "authority", is_authority=False))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain)
    server = Issuer(("127.0.0.1", 0), _Answers)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def trust(monkeypatch: pytest.MonkeyPatch, path: Path, authority: str) -> None:
    """Trust only this authority, as an operator does with SSL_CERT_FILE."""
    path.write_bytes(certificate(authority, authority, is_authority=True))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)


def is_accepted(keys: UrlKeys, token: str) -> bool:
    try:
        return bool(verified(token, keys.find, RULES, NOW_S))
    except Unauthenticated:
        return False


def url_of(issuer: Issuer) -> str:
    return f"https://127.0.0.1:{issuer.server_port}/keys"


def test_keys_over_tls_rotate_without_a_restart(
    issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust(monkeypatch, tmp_path / "authority.pem", "authority")
    issuer.answer = key_set(jwk(rsa_key(), "r1"))
    seconds = [1_000.0]
    times = FetchTimes(refresh_s=300, retry_s=RETRY_S, wait_s=20, keep_s=3_600)
    keys = UrlKeys(partial(fetched, url_of(issuer), 20, MAX_SET_BYTES), times, lambda: seconds[0])
    old, new = a_token(), a_token(ec_key())
    assert is_accepted(keys, old)
    assert not is_accepted(keys, new)
    issuer.answer = key_set(jwk(rsa_key(), "r1"), jwk(ec_key(), "e1"))
    seconds[0] += RETRY_S
    assert is_accepted(keys, new)
    assert is_accepted(keys, old), "both keys are valid during the rotation"
    issuer.answer = key_set(jwk(ec_key(), "e1"))
    seconds[0] += RETRY_S
    assert not is_accepted(keys, a_token(ec_key("other"), {"kid": "e2"})), "an unknown key causes a fetch"
    assert not is_accepted(keys, old)
    assert is_accepted(keys, new)


def test_an_issuer_of_another_authority_is_refused(
    issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust(monkeypatch, tmp_path / "authority.pem", "another")
    with pytest.raises(Unavailable):
        fetched(url_of(issuer), 20, MAX_SET_BYTES)
