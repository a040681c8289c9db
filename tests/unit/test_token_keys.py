"""Test which keys of a key set check tokens, and which key sets are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from hitmesh.access.token_keys import MAX_KEYS, MAX_SET_BYTES, keys_in
from hitmesh.model.errors import RefusedError
from tests.support.tokens import ec_key, jwk, key_set, rsa_key


def ids_in(*keys: dict[str, Any]) -> list[tuple[str, str]]:
    return sorted(keys_in(key_set(*keys)).by_id)


def test_rsa_keys_are_for_rs256_and_keys_on_p256_are_for_es256() -> None:
    found = keys_in(key_set())
    assert sorted(found.by_id) == [("e1", "ES256"), ("r1", "RS256")]
    assert found.find("r1", "ES256") is found.find("e1", "RS256") is found.find("r2", "RS256") is None


def test_an_rsa_key_and_an_ec_key_may_have_the_same_id() -> None:
    assert ids_in(jwk(rsa_key(), "k"), jwk(ec_key(), "k")) == [("k", "ES256"), ("k", "RS256")]


# Keys beside which the key "good" stays usable.
IGNORED: dict[str, Callable[[], dict[str, Any]]] = {
    "for encryption": lambda: jwk(rsa_key(), "k", use="enc"),
    "for another algorithm": lambda: jwk(rsa_key(), "k", alg="RS512"),
    "for PSS": lambda: jwk(rsa_key(), "k", alg="PS256"),
    "RSA key with an algorithm of curves": lambda: jwk(rsa_key(), "k", alg="ES256"),
    "RSA key with a curve": lambda: jwk(rsa_key(), "k", crv="P-256"),
    "RSA key as a secret": lambda: jwk(rsa_key(), "k", alg="HS256"),
    "for signing": lambda: jwk(rsa_key(), "k", key_ops=["sign"]),
    "operations that are no list": lambda: jwk(rsa_key(), "k", key_ops="verify"),
    "without an id": lambda: jwk(rsa_key(), "k", kid=None),
    "with an id that is a number": lambda: jwk(rsa_key(), "k", kid=1),
    "with a long id": lambda: jwk(rsa_key(), "k" * 257),
    "small RSA key": lambda: jwk(rsa_key("small", 1_024), "k"),
    "another curve": lambda: jwk(ec_key("p384", ec.SECP384R1), "k"),
    "point that is not on the curve": lambda: jwk(ec_key(), "k", x="A" * 43),
    "coordinate that is no text": lambda: jwk(ec_key(), "k", x=1),
    "modulus that is not base64url": lambda: jwk(rsa_key(), "k", n="!"),
    "without a modulus": lambda: jwk(rsa_key(), "k", n=None),
    "even exponent": lambda: jwk(rsa_key(), "k", e="Ag"),
    "another type": lambda: {"kty": "OKP", "crv": "Ed25519", "x": "A" * 43, "kid": "k"},
    "no type": lambda: jwk(rsa_key(), "k", kty=None),
}


@pytest.mark.parametrize("make", IGNORED.values(), ids=IGNORED.keys())
def test_keys_for_other_purposes_are_ignored(make: Callable[[], dict[str, Any]]) -> None:
    assert ids_in(make(), jwk(ec_key(), "good")) == [("good", "ES256")]
    with pytest.raises(RefusedError, match="no usable key: publish a JWKS with public RSA keys"):
        keys_in(key_set(make()))


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "not JSON": (lambda: b"<html>", "is not JSON"),
    "not UTF-8": (lambda: b"\xff", "is not JSON"),
    "deeply nested": (lambda: b"[" * 200_000, "is not JSON"),
    "a list": (lambda: b"[]", "no list `keys`"),
    "no keys": (lambda: b"{}", "no list `keys`"),
    "empty": (lambda: b'{"keys": []}', "no usable key"),
    "a key that is a text": (lambda: b'{"keys": ["k"]}', "not an object"),
    "too many keys": (lambda: json.dumps({"keys": [{}] * (MAX_KEYS + 1)}).encode(), "at most 100 keys"),
    "too large": (lambda: key_set() + b" " * MAX_SET_BYTES, "more than 262,144 bytes"),
    "private RSA key": (
        lambda: key_set(RSAAlgorithm.to_jwk(rsa_key(), as_dict=True) | {"kid": "k"}),
        "must now be replaced",
    ),
    "private EC key": (
        lambda: key_set(ECAlgorithm.to_jwk(ec_key(), as_dict=True) | {"kid": "k"}),
        "must now be replaced",
    ),
    "secret": (lambda: key_set({"kty": "oct", "k": "AAAA", "kid": "k"}, jwk(ec_key(), "e")), "must now be replaced"),
    "an id twice": (lambda: key_set(jwk(rsa_key(), "k"), jwk(rsa_key("other"), "k")), "two keys with the same kid"),
}


@pytest.mark.parametrize(("make", "problem"), REFUSED.values(), ids=REFUSED.keys())
def test_an_unusable_set_is_refused_with_a_remedy(make: Callable[[], bytes], problem: str) -> None:
    with pytest.raises(RefusedError) as caught:
        keys_in(make())
    assert problem in caught.value.message
    assert caught.value.message.endswith("RSA keys of at least 2,048 bits or EC keys on P-256, each with a kid")
    assert caught.value.reason == "INVALID_CONFIG"
