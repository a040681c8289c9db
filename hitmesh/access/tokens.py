"""Checks JSON Web Tokens of people and services that act for a merchant (docs/tokens.md).

The check is pure: text, keys, rules and time are arguments. The signature is checked before any claim is read, so only
the issuer's callers learn which claim is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import jwt

from hitmesh.access.token_parts import TokenParts, json_object, parts_of, refused
from hitmesh.model.errors import Unauthenticated
from hitmesh.model.names import MERCHANT_PATTERN
from hitmesh.model.reasons import ErrorReason
from hitmesh.model.sites import Role

LEEWAY_S: Final = 60
"""Seconds by which the clocks of issuer and mesh may differ. Envoy applies the same number."""
MERCHANT_CLAIM: Final = "hitmesh_merchant"
ROLES_CLAIM: Final = "hitmesh_roles"
TOKEN_ROLES: Final = frozenset({Role.READ, Role.ADMINISTER})
"""The roles that a token may give. Hits are sent with keys, and the mesh is operated with operators' keys."""
MAX_SUBJECT_CHARS: Final = 255
_MAX_TIME_S: Final = 253_402_300_799  # the last second of the year 9999

FindKey = Callable[[str, str], jwt.PyJWK | None]
"""Returns the key with a key id and an algorithm, or None."""


@dataclass(frozen=True, slots=True)
class TokenRules:
    """The tokens that a mesh accepts.

    Attributes:
        issuer: the value that the claim `iss` must have.
        audiences: the claim `aud` must have at least one of these values.
        leeway_s: seconds by which the clocks of issuer and mesh may differ.
    """

    issuer: str
    audiences: frozenset[str]
    leeway_s: int = LEEWAY_S


@dataclass(frozen=True, slots=True)
class Token:
    """The rights that a valid token gives.

    Attributes:
        merchant: the merchant to which the roles apply, `merchants/{m}`.
        roles: the roles, a part of TOKEN_ROLES that is not empty.
        subject: the issuer's name for the person or service.
    """

    merchant: str
    roles: frozenset[Role]
    subject: str


def verified(text: str, find_key: FindKey, rules: TokenRules, now_s: float) -> Token:
    """Return the rights that a token gives at a time.

    Args:
        text: the token in the compact form.
        find_key: finds the public key; keys come only from here, never from the token.
        rules: the issuer and audiences that are accepted.
        now_s: the current time in UTC seconds.

    Raises:
        Unauthenticated: the token is malformed, has a wrong signature or key id, or has a claim that is missing or
            wrong (INVALID_TOKEN); or the token has expired (TOKEN_EXPIRED).
    """
    parts = parts_of(text)
    key = find_key(parts.key_id, parts.algorithm)
    if key is None:
        raise refused("the token is signed with an unknown key (kid): request a new token from the configured issuer")
    if not _has_signature(parts, key):
        raise refused("the token's signature is wrong: request a new token from the configured issuer")
    claims = json_object(parts.payload, "payload")
    _check_origin(claims, rules)
    _check_times(claims, rules.leeway_s, now_s)
    return Token(_merchant_in(claims), _roles_in(claims), _subject_in(claims))


def _has_signature(parts: TokenParts, key: jwt.PyJWK) -> bool:
    if key.algorithm_name != parts.algorithm:
        return False
    return key.Algorithm.verify(parts.signed, key.key, parts.signature)


def _check_origin(claims: Mapping[str, object], rules: TokenRules) -> None:
    """Raise unless issuer and audience are accepted."""
    if claims.get("iss") != rules.issuer:
        raise Unauthenticated(
            f"the token's claim iss is not {rules.issuer}: use a token of this issuer",
            field="authorization",
            reason=ErrorReason.INVALID_TOKEN,
            expected=rules.issuer,
        )
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if not all(isinstance(name, str) for name in audiences) or rules.audiences.isdisjoint(audiences):
        expected = ", ".join(sorted(rules.audiences))
        raise Unauthenticated(
            f"the token's claim aud has no accepted audience: request a token for {expected}",
            field="authorization",
            reason=ErrorReason.INVALID_TOKEN,
            expected=expected,
        )


def _check_times(claims: Mapping[str, object], leeway_s: int, now_s: float) -> None:
    """Raise unless the token is valid at this time."""
    expires, begins, issued = (_time_in(claims, name) for name in ("exp", "nbf", "iat"))
    if expires is None:
        raise refused("the token has no claim exp: issue tokens that expire")
    if now_s >= expires + leeway_s:
        raise Unauthenticated(
            "the token has expired: request a new token from the issuer",
            field="authorization",
            reason=ErrorReason.TOKEN_EXPIRED,
        )
    if begins is not None and now_s < begins - leeway_s:
        raise refused("the token is not valid yet (nbf): wait, or compare the issuer's clock with this server's clock")
    if issued is not None and now_s < issued - leeway_s:
        raise refused("the token was issued in the future (iat): compare the issuer's clock with this server's clock")


def _time_in(claims: Mapping[str, object], name: str) -> float | None:
    """Return a time in seconds, or None if the claim is missing."""
    if name not in claims:
        return None
    value = claims[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MAX_TIME_S:
        raise refused(f"the token's claim {name} is not a time: issue a number of seconds since 1970")
    return value


def _merchant_in(claims: Mapping[str, object]) -> str:
    value = claims.get(MERCHANT_CLAIM)
    if not isinstance(value, str) or not MERCHANT_PATTERN.fullmatch(value):
        raise refused(
            f"the token's claim {MERCHANT_CLAIM} is not the name of a merchant: issue merchants/{{merchant}}, "
            "where the name has only a-z, 0-9 and '-'"
        )
    return value


def _roles_in(claims: Mapping[str, object]) -> frozenset[Role]:
    names = sorted(role.value for role in TOKEN_ROLES)
    value = claims.get(ROLES_CLAIM)
    if not isinstance(value, list) or not value or not all(name in names for name in value):
        allowed = " and ".join(reversed(names))
        raise refused(f"the token's claim {ROLES_CLAIM} is not a list with only the roles {allowed}: issue such a list")
    return frozenset(Role(name) for name in value)


def _subject_in(claims: Mapping[str, object]) -> str:
    value = claims.get("sub")
    if not isinstance(value, str) or not 0 < len(value) <= MAX_SUBJECT_CHARS or not value.isprintable():
        raise refused(
            f"the token's claim sub is not 1 to {MAX_SUBJECT_CHARS} printable characters: issue the id of a person or "
            "service"
        )
    return value
