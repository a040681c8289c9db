"""Test which tokens are accepted, and that each kind of wrong token is refused with its rule and without its text."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from hitmesh.access.token_keys import keys_in
from hitmesh.access.token_parts import MAX_TOKEN_BYTES
from hitmesh.access.tokens import LEEWAY_S, Token, TokenRules, verified
from hitmesh.model.errors import Unauthenticated
from hitmesh.model.sites import Role
from tests.support.tokens import (
    AUDIENCE,
    ISSUER,
    MERCHANT,
    NOW_S,
    a_token,
    base64url,
    claims,
    ec_key,
    jwk,
    key_set,
    public_pem,
    rsa_key,
    signed,
)

RULES = TokenRules(ISSUER, frozenset({AUDIENCE, "other-door"}))
HEADER = {"typ": "JWT", "alg": "RS256", "kid": "r1"}


def checked(text: str, now_s: float = NOW_S, keys: bytes | None = None) -> Token:
    return verified(text, keys_in(keys or key_set()).find, RULES, now_s)


def refusal_of(text: str, now_s: float = NOW_S) -> Unauthenticated:
    with pytest.raises(Unauthenticated) as caught:
        checked(text, now_s)
    return caught.value


def with_hmac(secret: bytes, algorithm: str = "HS256") -> str:
    """Return a token that is signed with a shared secret, under the id of a public key."""
    text = f"{base64url(json.dumps(HEADER | {'alg': algorithm}).encode())}.{base64url(json.dumps(claims()).encode())}"
    return f"{text}.{base64url(hmac.digest(secret, text.encode(), hashlib.sha256))}"


def unsigned(algorithm: str, end: str = "") -> str:
    """Return a token without a signature."""
    head = base64url(json.dumps(HEADER | {"alg": algorithm}).encode())
    return f"{head}.{base64url(json.dumps(claims()).encode())}.{end}"


def with_claims(text: str) -> str:
    """Return a token whose payload is this text."""
    return signed(HEADER, text.encode("utf-8", "surrogatepass"), rsa_key())


def other_parts() -> str:
    """Return a token with the payload of a valid token, and the signature of another valid token."""
    return f"{a_token(sub='admin').rpartition('.')[0]}.{a_token().rpartition('.')[2]}"


def after_a_claim(text: str) -> str:
    return json.dumps(claims())[:-1] + f", {text}}}"


@pytest.mark.parametrize("key", [rsa_key, ec_key])
def test_a_valid_token_gives_the_roles_for_its_merchant(key: Callable[[], Any]) -> None:
    found = checked(a_token(key(), hitmesh_roles=["administer", "read", "read"]))
    assert found == Token(MERCHANT, frozenset({Role.READ, Role.ADMINISTER}), "user-7")


VALID: dict[str, tuple[Callable[[], str], float]] = {
    "an audience in a list": (lambda: a_token(aud=["elsewhere", AUDIENCE]), NOW_S),
    "the second audience": (lambda: a_token(aud="other-door"), NOW_S),
    "no nbf and no iat": (lambda: a_token(nbf=None, iat=None), NOW_S),
    "times with fractions": (lambda: a_token(exp=NOW_S + 0.5, nbf=NOW_S - 0.5), NOW_S),
    "claims for other programs": (lambda: a_token(scope="x", groups=[1, {"a": None}]), NOW_S),
    "header parameters for other programs": (lambda: a_token(header={"x5t": "abc", "new": 1}), NOW_S),
    "no type": (lambda: a_token(header={"typ": None}), NOW_S),
    "the type of access tokens": (lambda: a_token(header={"typ": "at+JWT"}), NOW_S),
    "expired within the leeway": (lambda: a_token(), NOW_S + 300 + LEEWAY_S - 1),
    "not yet valid, within the leeway": (lambda: a_token(nbf=NOW_S), NOW_S - LEEWAY_S),
    "issued in the future, within the leeway": (lambda: a_token(iat=NOW_S), NOW_S - LEEWAY_S),
    "the longest subject": (lambda: a_token(sub="ä" * 255), NOW_S),
}


@pytest.mark.parametrize(("make", "now_s"), VALID.values(), ids=VALID.keys())
def test_a_token_within_the_rules_is_accepted(make: Callable[[], str], now_s: float) -> None:
    assert checked(make(), now_s).merchant == MERCHANT


# Each kind of refused token, with a part of the message.
REFUSED: dict[str, tuple[Callable[[], str], str]] = {
    "alg none": (lambda: unsigned("none"), "empty or not base64url"),
    "alg none with a signature": (lambda: unsigned("none", "AAAA"), "sign tokens with RS256 or ES256"),
    "alg None": (lambda: unsigned("nOnE", "AAAA"), "sign tokens with RS256 or ES256"),
    "no alg": (lambda: a_token(header={"alg": None}), "sign tokens with RS256 or ES256"),
    "alg is a list": (lambda: a_token(header={"alg": ["RS256"]}), "sign tokens with RS256 or ES256"),
    "HS256 with the PEM as secret": (lambda: with_hmac(public_pem(rsa_key())), "sign tokens with RS256 or ES256"),
    "HS256 with the key set as secret": (lambda: with_hmac(key_set()), "sign tokens with RS256 or ES256"),
    "a MAC as signature": (lambda: with_hmac(public_pem(rsa_key()), "RS256"), "signature is wrong"),
    "RS512": (lambda: a_token(header={"alg": "RS512"}), "sign tokens with RS256 or ES256"),
    "PS256": (lambda: a_token(header={"alg": "PS256"}), "sign tokens with RS256 or ES256"),
    "alg of another type of key": (lambda: a_token(header={"alg": "ES256"}), "unknown key"),
    "EC key under an RSA name": (lambda: a_token(ec_key(), header={"alg": "RS256", "kid": "r1"}), "signature is wrong"),
    "another key": (lambda: a_token(rsa_key("thief")), "signature is wrong"),
    "another EC key": (lambda: a_token(ec_key("thief")), "signature is wrong"),
    "another curve": (lambda: a_token(ec_key("p384", ec.SECP384R1)), "signature is wrong"),
    "signature of another token": (other_parts, "signature is wrong"),
    "unknown kid": (lambda: a_token(header={"kid": "r9"}), "unknown key"),
    "no kid": (lambda: a_token(header={"kid": None}), "names no key"),
    "empty kid": (lambda: a_token(header={"kid": ""}), "names no key"),
    "kid is a number": (lambda: a_token(header={"kid": 1}), "names no key"),
    "long kid": (lambda: a_token(header={"kid": "k" * 257}), "names no key"),
    "crit": (lambda: a_token(header={"crit": ["exp"]}), "requires an extension"),
    "empty crit": (lambda: a_token(header={"crit": []}), "requires an extension"),
    "b64": (lambda: a_token(header={"b64": False}), "requires an extension"),
    "jku": (lambda: a_token(header={"jku": "https://thief.example/keys"}), "brings its own key"),
    "x5u": (lambda: a_token(header={"x5u": "https://thief.example/cert"}), "brings its own key"),
    "x5c": (lambda: a_token(header={"x5c": ["MIIB"]}), "brings its own key"),
    "jwk": (lambda: a_token(rsa_key("t"), header={"jwk": jwk(rsa_key("t"), "r1")}), "brings its own key"),
    "another type": (lambda: a_token(header={"typ": "secevent+jwt"}), "another type"),
    "type is a number": (lambda: a_token(header={"typ": 1}), "another type"),
    "a token in a token": (lambda: a_token(header={"cty": "JWT"}), "another type"),
    "header is a list": (lambda: signed([HEADER], claims(), rsa_key()), "header is not a JSON object"),
    "repeated alg": (
        lambda: signed(b'{"alg":"RS256","kid":"r1","alg":"RS256"}', claims(), rsa_key()),
        "header is not a JSON object",
    ),
    "header with a byte order mark": (
        lambda: signed(b"\xef\xbb\xbf" + json.dumps(HEADER).encode(), claims(), rsa_key()),
        "header is not a JSON object",
    ),
    "repeated claim": (lambda: with_claims(after_a_claim('"sub": "admin"')), "payload is not a JSON object"),
    "repeated claim in a claim": (lambda: with_claims(after_a_claim('"a": {"b": 1, "b": 1}')), "distinct names"),
    "NaN": (lambda: with_claims(after_a_claim('"a": NaN')), "payload is not a JSON object"),
    "a number with 5,000 digits": (lambda: with_claims(after_a_claim(f'"a": {"9" * 5_000}')), "not a JSON object"),
    "deeply nested": (lambda: with_claims('{"a":' + "[" * 3_000), "payload is not a JSON object"),
    "not UTF-8": (lambda: signed(HEADER, b'{"sub": "\xff"}', rsa_key()), "payload is not a JSON object"),
    "payload is a text": (lambda: with_claims('"sub"'), "payload is not a JSON object"),
    "no exp": (lambda: a_token(exp=None), "no claim exp"),
    "exp is a text": (lambda: a_token(exp=str(NOW_S + 300)), "claim exp is not a time"),
    "exp is true": (lambda: a_token(exp=True), "claim exp is not a time"),
    "exp is null": (lambda: with_claims(json.dumps(claims() | {"exp": None})), "claim exp is not a time"),
    "exp is huge": (lambda: a_token(exp=10**4_000), "claim exp is not a time"),
    "exp is infinite": (lambda: with_claims(json.dumps(claims()).replace(str(NOW_S + 300), "1e999")), "not a time"),
    "exp is negative": (lambda: a_token(exp=-1), "claim exp is not a time"),
    "nbf is a text": (lambda: a_token(nbf="0"), "claim nbf is not a time"),
    "nbf is later": (lambda: a_token(nbf=NOW_S + LEEWAY_S + 1), "not valid yet"),
    "iat is a list": (lambda: a_token(iat=[NOW_S]), "claim iat is not a time"),
    "iat is later": (lambda: a_token(iat=NOW_S + LEEWAY_S + 1), "issued in the future"),
    "no iss": (lambda: a_token(iss=None), f"claim iss is not {ISSUER}"),
    "another issuer": (lambda: a_token(iss="https://issuer.example"), f"claim iss is not {ISSUER}"),
    "issuers in a list": (lambda: a_token(iss=[ISSUER]), f"claim iss is not {ISSUER}"),
    "no aud": (lambda: a_token(aud=None), "no accepted audience"),
    "another audience": (lambda: a_token(aud="elsewhere"), "request a token for hitmesh, other-door"),
    "no audience in the list": (lambda: a_token(aud=[]), "no accepted audience"),
    "a number beside the audience": (lambda: a_token(aud=[AUDIENCE, 1]), "no accepted audience"),
    "a list in the list of audiences": (lambda: a_token(aud=[[AUDIENCE]]), "no accepted audience"),
    "audience is an object": (lambda: a_token(aud={AUDIENCE: 1}), "no accepted audience"),
    "no sub": (lambda: a_token(sub=None), "claim sub is not 1 to 255 printable characters"),
    "empty sub": (lambda: a_token(sub=""), "claim sub is not"),
    "sub is a number": (lambda: a_token(sub=7), "claim sub is not"),
    "sub with a line break": (lambda: a_token(sub="a\nb"), "claim sub is not"),
    "sub with half a character": (lambda: a_token(sub="\ud800"), "claim sub is not"),
    "long sub": (lambda: a_token(sub="s" * 256), "claim sub is not"),
    "no merchant": (lambda: a_token(hitmesh_merchant=None), "claim hitmesh_merchant is not the name"),
    "merchant without its collection": (lambda: a_token(hitmesh_merchant="demo"), "claim hitmesh_merchant"),
    "operators as merchant": (lambda: a_token(hitmesh_merchant="operators"), "claim hitmesh_merchant"),
    "every merchant": (lambda: a_token(hitmesh_merchant="merchants/-"), "claim hitmesh_merchant"),
    "a site as merchant": (lambda: a_token(hitmesh_merchant="merchants/demo/sites/a"), "claim hitmesh_merchant"),
    "merchant with a line break": (lambda: a_token(hitmesh_merchant="merchants/demo\n"), "claim hitmesh_merchant"),
    "merchants in a list": (lambda: a_token(hitmesh_merchant=[MERCHANT]), "claim hitmesh_merchant"),
    "no roles": (lambda: a_token(hitmesh_roles=None), "only the roles read and administer"),
    "no role in the list": (lambda: a_token(hitmesh_roles=[]), "only the roles read and administer"),
    "role send": (lambda: a_token(hitmesh_roles=["read", "send"]), "only the roles read and administer"),
    "role operate": (lambda: a_token(hitmesh_roles=["operate"]), "only the roles read and administer"),
    "roles in a text": (lambda: a_token(hitmesh_roles="read"), "only the roles read and administer"),
    "a list of roles in the list": (lambda: a_token(hitmesh_roles=[["read"]]), "only the roles read and administer"),
    "empty": (lambda: "", "three parts"),
    "two parts": (lambda: a_token().rpartition(".")[0], "three parts"),
    "four parts": (lambda: a_token() + ".AAAA", "three parts"),
    "two tokens": (lambda: f"{a_token()},Bearer {a_token()}", "three parts"),
    "encrypted": (lambda: "a.b.c.d.e", "three parts"),
    "padding": (lambda: a_token() + "=", "not base64url"),
    "a blank": (lambda: a_token() + " ", "not base64url"),
    "a letter that is not ASCII": (lambda: "é" + a_token(), "not base64url"),
    "another base64": (lambda: a_token()[:-4] + "+/+/", "not base64url"),
    "no signature": (lambda: a_token().rpartition(".")[0] + ".", "empty or not base64url"),
    "too large": (lambda: a_token(more="x" * MAX_TOKEN_BYTES), "more than 8,192 bytes"),
}


@pytest.mark.parametrize(("make", "rule"), REFUSED.values(), ids=REFUSED.keys())
def test_a_wrong_token_is_refused_with_its_rule_and_without_its_text(make: Callable[[], str], rule: str) -> None:
    text = make()
    error = refusal_of(text)
    assert error.reason == "INVALID_TOKEN"
    assert rule in error.message
    assert ": " in error.message
    assert not [piece for piece in text.split(".") if len(piece) > 8 and piece in error.message]
    assert not {"user-7", "thief.example", "admin", "elsewhere"} & set(error.message.replace("/", " ").split())


def test_an_expired_token_has_a_reason_of_its_own() -> None:
    error = refusal_of(a_token(), NOW_S + 300 + LEEWAY_S)
    assert (error.reason, error.field) == ("TOKEN_EXPIRED", "authorization")
    assert error.message == "the token has expired: request a new token from the issuer"


def test_claims_are_not_read_before_the_signature_was_checked() -> None:
    assert "signature is wrong" in refusal_of(a_token(rsa_key("thief"), exp=0, iss="x")).message


def test_a_large_token_is_refused_before_it_is_parsed() -> None:
    def no_key(key_id: str, algorithm: str) -> None:
        raise AssertionError("the token was parsed")

    with pytest.raises(Unauthenticated, match="more than 8,192 bytes"):
        verified("." * 10_000_000, no_key, RULES, NOW_S)


def test_metadata_of_a_refusal_has_only_settings() -> None:
    assert refusal_of(a_token(iss="x")).variables == {"expected": ISSUER}
    assert refusal_of(a_token(aud="x")).variables == {"expected": "hitmesh, other-door"}
