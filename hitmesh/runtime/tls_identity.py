"""Identities of the parts of a mesh, as URIs in their certificates. Pure.

Example: `spiffe://hitmesh/envoy` is Envoy of the mesh `hitmesh`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

DOMAIN: Final = "hitmesh"
# Properties of gRPC's authentication context.
_URIS: Final = "x509_uri"
_HOSTS: Final = "x509_dns"


def identity(part: str, domain: str = DOMAIN) -> str:
    """Return the identity of a part.

    Example:
        >>> identity("collector")
        'spiffe://hitmesh/collector'
    """
    return f"spiffe://{domain}/{part}"


def peers_in(text: str) -> frozenset[str]:
    """Return the names in a comma-separated list, without spaces around each name.

    Example:
        >>> sorted(peers_in("spiffe://hitmesh/envoy, probe.example"))
        ['probe.example', 'spiffe://hitmesh/envoy']
    """
    return frozenset(name.strip() for name in text.split(",") if name.strip())


def names_of(context: Mapping[str, Iterable[bytes]]) -> frozenset[str]:
    """Return the URIs and DNS names in the verified certificate of a gRPC peer; empty without a certificate.

    Args:
        context: gRPC's authentication context. Its values are lists of bytes.

    Example:
        >>> names_of({"x509_uri": [b"spiffe://hitmesh/envoy"], "transport_security_type": [b"ssl"]})
        frozenset({'spiffe://hitmesh/envoy'})
    """
    found = (*context.get(_URIS, ()), *context.get(_HOSTS, ()))
    return frozenset(value.decode("utf-8", "replace") for value in found)
