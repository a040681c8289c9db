"""Make JSON Web Tokens and key sets for tests, also malformed and forged ones. Keys are made at their first use."""

from __future__ import annotations

import base64
import datetime
import json
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from jwt.utils import der_to_raw_signature

ISSUER: Final = "https://issuer.example/"
AUDIENCE: Final = "hitmesh"
MERCHANT: Final = "merchants/demo"
NOW_S: Final = 1_800_000_000

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@cache
def rsa_key(name: str = "r1", bits: int = 2_048) -> rsa.RSAPrivateKey:
    """Return the RSA key with this name, the same key in each call."""
    return rsa.generate_private_key(65_537, bits)


@cache
def ec_key(name: str = "e1", curve: type[ec.EllipticCurve] = ec.SECP256R1) -> ec.EllipticCurvePrivateKey:
    """Return the elliptic-curve key with this name, the same key in each call."""
    return ec.generate_private_key(curve())


def public_pem(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def a_certificate() -> bytes:
    """Return a certificate that its own key has signed, as PEM."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "authority.example")])
    begins = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(ec_key("ca").public_key())
    made = made.serial_number(7).not_valid_before(begins).not_valid_after(begins + datetime.timedelta(days=9_000))
    return made.sign(ec_key("ca"), hashes.SHA256()).public_bytes(Encoding.PEM)


def jwk(key: PrivateKey, key_id: str, **members: Any) -> dict[str, Any]:
    """Return the description of a public key; members that are None are left out."""
    if isinstance(key, rsa.RSAPrivateKey):
        described: dict[str, Any] = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        described = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    described.pop("key_ops", None)
    every = {**described, "kid": key_id, "use": "sig", **members}
    return {name: value for name, value in every.items() if value is not None}


def key_set(*keys: Mapping[str, Any]) -> bytes:
    """Return a JWKS; without keys, the set of the keys r1 and e1."""
    listed = list(keys) or [jwk(rsa_key(), "r1", alg="RS256"), jwk(ec_key(), "e1", alg="ES256")]
    return json.dumps({"keys": listed}).encode()


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def as_json(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def signature(key: PrivateKey, signed: bytes) -> bytes:
    """Return the signature as JWS contains it: PKCS #1 for RSA, both numbers side by side for elliptic curves."""
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
    return der_to_raw_signature(key.sign(signed, ec.ECDSA(hashes.SHA256())), key.curve)


def signed(header: Any, payload: Any, key: PrivateKey) -> str:
    """Return a token with this header and payload; bytes are used unchanged."""
    text = f"{base64url(as_json(header))}.{base64url(as_json(payload))}"
    return f"{text}.{base64url(signature(key, text.encode()))}"


def claims(now_s: int = NOW_S, **changes: Any) -> dict[str, Any]:
    """Return the claims of a valid token; claims that are None are left out."""
    every = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "user-7",
        "iat": now_s - 10,
        "exp": now_s + 300,
        "hitmesh_merchant": MERCHANT,
        "hitmesh_roles": ["read"],
        **changes,
    }
    return {name: value for name, value in every.items() if value is not None}


def a_token(
    key: PrivateKey | None = None, header: Mapping[str, Any] | None = None, now_s: int = NOW_S, **changes: Any
) -> str:
    """Return a token that is signed with the RSA key r1 by default, with changed claims and header parameters."""
    key = key or rsa_key()
    names = ("RS256", "r1") if isinstance(key, rsa.RSAPrivateKey) else ("ES256", "e1")
    every = {"typ": "JWT", "alg": names[0], "kid": names[1], **(header or {})}
    return signed({name: value for name, value in every.items() if value is not None}, claims(now_s, **changes), key)
