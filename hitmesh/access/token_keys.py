"""The public keys that check tokens, read from a JSON Web Key Set (JWKS, RFC 7517).

A key is used only for its own algorithm: RSA keys for RS256, and elliptic-curve keys on P-256 for ES256. Keys for other
purposes are ignored, because issuers publish such keys in the same set. A set with a private or secret key is refused,
because that key is no longer secret.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from hitmesh.access.token_parts import ALGORITHMS, MAX_KEY_ID_CHARS
from hitmesh.model.errors import RefusedError
from hitmesh.model.reasons import LocalReason

MAX_SET_BYTES: Final = 262_144
"""Maximum size of a key set in bytes."""
MAX_KEYS: Final = 100
"""Maximum number of keys in a set."""
MIN_RSA_BITS: Final = 2_048
_MAX_RSA_BITS: Final = 8_192
# Members that only private and secret keys have.
_SECRET_MEMBERS: Final = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")
_REMEDY: Final = "publish a JWKS with public RSA keys of at least 2,048 bits or EC keys on P-256, each with a kid"


@dataclass(frozen=True, slots=True)
class TokenKeys:
    """The usable keys of a key set, keyed by key id and algorithm."""

    by_id: Mapping[tuple[str, str], jwt.PyJWK] = field(default_factory=lambda: MappingProxyType({}))

    def find(self, key_id: str, algorithm: str) -> jwt.PyJWK | None:
        """Return the key with this id for this algorithm, or None."""
        return self.by_id.get((key_id, algorithm))


def keys_in(data: bytes) -> TokenKeys:
    """Return the usable keys of a JWKS.

    Raises:
        RefusedError: the bytes are too many or not a JWKS, the set has a private or secret key, two keys have the same
            id and algorithm, or no key is usable (INVALID_CONFIG).
    """
    if len(data) > MAX_SET_BYTES:
        raise _refused(f"the key set has more than {MAX_SET_BYTES:,} bytes")
    try:
        found = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _refused("the key set is not JSON") from error
    listed = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise _refused(f"the key set has no list `keys` with at most {MAX_KEYS} keys")
    keys: dict[tuple[str, str], jwt.PyJWK] = {}
    for described in listed:
        if not isinstance(described, dict):
            raise _refused("the key set has a key that is not an object")
        if any(name in described for name in _SECRET_MEMBERS):
            raise _refused("the key set has a private or secret key, which must now be replaced at the issuer")
        key = _usable(described)
        if key is None:
            continue
        place = (described["kid"], key.algorithm_name)
        if place in keys:
            raise _refused("the key set has two keys with the same kid and algorithm")
        keys[place] = key
    if not keys:
        raise _refused("the key set has no usable key")
    return TokenKeys(MappingProxyType(keys))


def _usable(described: dict[str, Any]) -> jwt.PyJWK | None:
    """Return the key, or None if tokens cannot be checked with the key."""
    algorithm = _algorithm_of(described)
    key_id, operations = described.get("kid"), described.get("key_ops", ["verify"])
    is_for_checks = described.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations
    has_id = isinstance(key_id, str) and 0 < len(key_id) <= MAX_KEY_ID_CHARS
    if algorithm is None or not is_for_checks or not has_id or described.get("alg", algorithm) != algorithm:
        return None
    try:
        key = jwt.PyJWK(described, algorithm)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, OverflowError):
        return None
    if isinstance(key.key, RSAPublicKey) and not MIN_RSA_BITS <= key.key.key_size <= _MAX_RSA_BITS:
        return None
    return key


def _algorithm_of(described: dict[str, Any]) -> str | None:
    rsa, elliptic = ALGORITHMS
    match described.get("kty"), described.get("crv"):
        case "RSA", None:
            return rsa
        case "EC", "P-256":
            return elliptic
    return None


def _refused(problem: str) -> RefusedError:
    return RefusedError(f"{problem}: {_REMEDY}", reason=LocalReason.INVALID_CONFIG)
