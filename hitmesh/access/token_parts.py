"""Takes a JSON Web Token (JWT) apart, before its signature is checked.

The functions read the compact form of RFC 7515 strictly: a limited size, exactly three parts, base64url without padding
and with only one text for the same bytes, and JSON objects without repeated names. No message shows a part of a token.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from hitmesh.model.errors import Unauthenticated
from hitmesh.model.reasons import ErrorReason

MAX_TOKEN_BYTES: Final = 8_192
"""Maximum size of a token in bytes."""
ALGORITHMS: Final = ("RS256", "ES256")
"""The algorithms with which tokens may be signed. Both are asymmetric, so a public key can never serve as a secret."""
MAX_KEY_ID_CHARS: Final = 256
_TYPES: Final = ("jwt", "at+jwt", "application/jwt", "application/at+jwt")
# Header parameters that give a key, or the address of a key. A caller must never choose the key of a check.
_KEY_SOURCES: Final = ("jku", "jwk", "x5u", "x5c")
_FIELD: Final = "authorization"


@dataclass(frozen=True, slots=True)
class TokenParts:
    """The parts of a token whose signature was not checked yet.

    Attributes:
        algorithm: a member of ALGORITHMS.
        key_id: the header parameter `kid`.
        signed: the bytes that are signed: header and payload as they were sent, with the dot between them.
        payload: bytes of the payload; nothing in these bytes may be used before the signature was checked.
        signature: bytes of the signature.
    """

    algorithm: str
    key_id: str
    signed: bytes
    payload: bytes
    signature: bytes


def parts_of(text: str) -> TokenParts:
    """Return the parts of a token.

    Raises:
        Unauthenticated: the token is too large, is not in the compact form, or has a header that is not allowed
            (INVALID_TOKEN).
    """
    if len(text) > MAX_TOKEN_BYTES:
        raise Unauthenticated(
            f"the token has more than {MAX_TOKEN_BYTES:,} bytes: issue tokens with fewer claims",
            field=_FIELD,
            reason=ErrorReason.INVALID_TOKEN,
            limit=MAX_TOKEN_BYTES,
        )
    pieces = text.split(".")
    if len(pieces) != 3:
        raise refused("the token does not have three parts: send a signed JWT in the compact form")
    head, body, end = (_bytes_of(piece) for piece in pieces)
    algorithm, key_id = _checked_header(json_object(head, "header"))
    return TokenParts(algorithm, key_id, f"{pieces[0]}.{pieces[1]}".encode(), body, end)


def json_object(data: bytes, part: str) -> Mapping[str, object]:
    """Return a JSON object without repeated names, and without numbers that JSON does not have.

    Args:
        data: UTF-8 text.
        part: name of the part for messages, such as `header`.

    Raises:
        Unauthenticated: the bytes are not such an object.
    """
    try:
        found = json.loads(data.decode("utf-8"), object_pairs_hook=_without_repeats, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise refused(f"the token's {part} is not a JSON object with distinct names: issue tokens with a JWT library")
    return found


def refused(message: str) -> Unauthenticated:
    """Return the error for a token that is not valid; the message says which rule the token breaks."""
    return Unauthenticated(message, field=_FIELD, reason=ErrorReason.INVALID_TOKEN)


def _checked_header(header: Mapping[str, object]) -> tuple[str, str]:
    """Return algorithm and key id."""
    if any(name in header for name in _KEY_SOURCES):
        raise refused(
            "the token's header brings its own key (jku, jwk, x5u or x5c): sign with a key from the configured key set"
        )
    if "crit" in header or "b64" in header:
        raise refused("the token's header requires an extension (crit or b64): issue tokens without extensions")
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.lower() not in _TYPES or "cty" in header:
        raise refused("the token's header has another type than JWT or at+jwt: issue an access token")
    algorithm, key_id = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise refused("the token's algorithm is not allowed: sign tokens with RS256 or ES256")
    if not isinstance(key_id, str) or not 0 < len(key_id) <= MAX_KEY_ID_CHARS:
        raise refused("the token's header names no key: set kid to the id of a key in the configured key set")
    return algorithm, key_id


def _bytes_of(piece: str) -> bytes:
    """Decode base64url without padding. Each sequence of bytes has exactly one text, so no other text is accepted."""
    try:
        decoded = base64.b64decode(piece.encode("ascii") + b"=" * (-len(piece) % 4), b"-_", validate=True)
    except (ValueError, binascii.Error):
        decoded = b""
    if not decoded or base64.urlsafe_b64encode(decoded).rstrip(b"=") != piece.encode("utf-8", "replace"):
        raise refused("a part of the token is empty or not base64url without padding: send the token unchanged")
    return decoded


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is repeated")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
